"""Writes the first inputs of the fuzzing targets: small whole files of every kind, from the tests' own references and made here.

    python3 Scripts/fuzz_seeds.py FOLDER       FOLDER/TARGET/NAME
"""
import gzip, json, os, shutil, struct, subprocess, sys

ROOT = os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
FIXTURES = os.path.join(ROOT, "Tests", "TokenizersTests", "Fixtures")
SMALL = os.path.join(ROOT, "Tests", "Reference", "small")
# Mutations of small files reach more than those of large ones.
LARGEST = 24_000


def read(*path):
    with open(os.path.join(*path), "rb") as file:
        return file.read()


def folder(files):
    """Several files as one input; see MemoryFiles."""
    return b"\n".join(b"==> %s\n%s" % (name.encode(), text if isinstance(text, bytes) else text.encode()) for name, text in files.items())


def safetensors(shapes, dtype="F32", size=4):
    """The header of tensors, and the bytes of their data."""
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in shapes.items():
        count = size
        for length in shape:
            count *= length
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, offset + count]}
        offset += count
    return json.dumps(header), offset


def whole(header, data):
    return struct.pack("<Q", len(header)) + header.encode() + bytes(data)


def llama(hidden=8, heads=2, kv=1, middle=16, rows=16):
    shapes = {"model.embed_tokens.weight": [rows, hidden], "model.norm.weight": [hidden]}
    layer = "model.layers.0."
    head = hidden // heads
    for name, shape in (("q_proj", [hidden, hidden]), ("k_proj", [kv * head, hidden]), ("v_proj", [kv * head, hidden]), ("o_proj", [hidden, hidden])):
        shapes["%sself_attn.%s.weight" % (layer, name)] = shape
    for name, shape in (("gate_proj", [middle, hidden]), ("up_proj", [middle, hidden]), ("down_proj", [hidden, middle])):
        shapes["%smlp.%s.weight" % (layer, name)] = shape
    for name in ("input_layernorm", "post_attention_layernorm"):
        shapes[layer + name + ".weight"] = [hidden]
    return shapes


def gguf(metadata, tensors):
    """metadata: [(key, type, value)], an array's value is (type, values); tensors: {name: shape}, float32."""
    def text(value):
        return struct.pack("<Q", len(value.encode())) + value.encode()

    def value(kind, data):
        forms = {0: "<B", 4: "<I", 5: "<i", 6: "<f", 7: "<B", 10: "<Q"}
        if kind == 8:
            return text(data)
        if kind == 9:
            return struct.pack("<IQ", data[0], len(data[1])) + b"".join(value(data[0], entry) for entry in data[1])
        return struct.pack(forms[kind], data)

    out = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(metadata))
    for key, kind, data in metadata:
        out += text(key) + struct.pack("<I", kind) + value(kind, data)
    offset, body = 0, b""
    for name, shape in tensors.items():
        out += text(name) + struct.pack("<I", len(shape)) + b"".join(struct.pack("<Q", length) for length in reversed(shape)) + struct.pack("<IQ", 0, offset)
        count = 4
        for length in shape:
            count *= length
        body += bytes(count)
        offset += count + -count % 32
        body += bytes(-count % 32)
    return out + bytes(-len(out) % 32) + body


def gguf_llama(kind):
    names = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
             "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm",
             "post_attention_layernorm": "ffn_norm"}
    tensors = {}
    for name, shape in llama().items():
        parts = name.split(".")
        tensors[{"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight"}.get(
            name) or "blk.0.%s.weight" % names[".".join(parts[3:-1])]] = shape
    metadata = [("general.architecture", 8, "llama"), ("llama.block_count", 4, 1), ("llama.context_length", 4, 64), ("llama.embedding_length", 4, 8),
                ("llama.feed_forward_length", 4, 16), ("llama.attention.head_count", 4, 2), ("llama.attention.head_count_kv", 4, 1),
                ("llama.attention.layer_norm_rms_epsilon", 6, 1e-5), ("llama.rope.freq_base", 6, 10000.0), ("llama.rope.dimension_count", 4, 4),
                ("llama.vocab_size", 4, 16), ("general.alignment", 4, 32), ("tokenizer.ggml.model", 8, kind)]
    tokens = ["<unk>", "<s>", "</s>", "\u2581" if kind != "gpt2" else "\u0120", "a", "b", "e", "r", "t", "h", "th", "the", "er", "\u2581t", "i", "n"]
    metadata += [("tokenizer.ggml.tokens", 9, (8, tokens)), ("tokenizer.ggml.token_type", 9, (5, [2, 3, 3] + [1] * 13)),
                 ("tokenizer.ggml.bos_token_id", 4, 1), ("tokenizer.ggml.eos_token_id", 4, 2), ("tokenizer.ggml.add_bos_token", 7, 1),
                 ("tokenizer.chat_template", 8, "{% for m in messages %}{{ m['content'] }}</s>{% endfor %}")]
    if kind == "gpt2":
        metadata += [("tokenizer.ggml.pre", 8, "smollm"), ("tokenizer.ggml.merges", 9, (8, ["t h", "th e", "e r"]))]
    else:
        metadata += [("tokenizer.ggml.scores", 9, (6, [-float(number) for number in range(16)]))]
    return gguf(metadata, tensors)


def header_of(path):
    """The text of a safetensors file's header."""
    data = read(path)
    return data[8:8 + struct.unpack("<Q", data[:8])[0]]


def protobuf(pieces, kind):
    """A SentencePiece model."""
    def number(value):
        out = b""
        while value > 127:
            out, value = out + bytes([value & 127 | 128]), value >> 7
        return out + bytes([value])

    def field(tag, data):
        return number(tag << 3 | 2) + number(len(data)) + data

    out = b""
    for text, score, sort in pieces:
        out += field(1, field(1, text.encode()) + number(2 << 3 | 5) + struct.pack("<f", score) + number(3 << 3) + number(sort))
    trainer = number(3 << 3) + number(kind) + number(35 << 3) + number(1)
    return out + field(2, trainer) + field(3, number(3 << 3) + number(1) + number(4 << 3) + number(1) + number(5 << 3) + number(1))


def seeds():
    """[(target, name, bytes)]"""
    header, data = safetensors(llama())
    yield "safetensors", "llama", whole(header, data)
    yield "safetensors", "empty", whole("{}", 0)
    yield "safetensors", "halves", whole(*safetensors({"a": [3, 2], "b": [0], "c": []}, "BF16", 2))
    for kind in ("gpt2", "llama", "t5"):
        yield "gguf", kind, gguf_llama(kind)
    config = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1,
              "num_attention_heads": 2, "num_key_value_heads": 1, "vocab_size": 16, "max_position_embeddings": 64, "rms_norm_eps": 1e-5,
              "rope_theta": 10000.0, "hidden_act": "silu", "tie_word_embeddings": True}
    yield "model", "llama", folder({"config.json": json.dumps(config), "model.safetensors": header})
    for name in sorted(os.listdir(SMALL)):
        at = os.path.join(SMALL, name)
        if os.path.exists(at + "/config.json") and os.path.exists(at + "/model.safetensors"):
            yield "model", name, folder({"config.json": read(at, "config.json"), "model.safetensors": header_of(at + "/model.safetensors")})
    yield "model", "sharded", folder({
        "config.json": json.dumps(config), "model-1.safetensors": header,
        "model.safetensors.index.json": json.dumps({"weight_map": {name: "model-1.safetensors" for name in llama()}})})
    for name in sorted(os.listdir(os.path.join(FIXTURES, "tokenizers"))):
        yield "tokenizer-json", name, folder({"tokenizer.json": read(FIXTURES, "tokenizers", name)})
    for name in sorted(os.listdir(os.path.join(FIXTURES, "kinds"))):
        if name.endswith(".json"):
            yield "tokenizer-json", "kind-" + name, folder({"tokenizer.json": read(FIXTURES, "kinds", name)})
        elif name.endswith(".model"):
            yield "sentencepiece", name, read(FIXTURES, "kinds", name)
    characters = {character: number for number, character in enumerate(["<s>", "</s>", "\u0120", "\u010a"] + [chr(code) for code in range(97, 123)] + ["th", "the"])}
    tokenizer = {
        "version": "1.0", "truncation": None, "padding": None, "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "NFKC"}, {"type": "Lowercase"}, {"type": "Replace", "pattern": {"Regex": "\\s+"}, "content": " "}]},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": "\\p{N}{1,3}|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+"}, "behavior": "Isolated", "invert": False},
            {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}]},
        "post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
                           "pair": [], "special_tokens": {"<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]}}},
        "decoder": {"type": "ByteLevel"}, "model": {"type": "BPE", "vocab": characters, "merges": ["t h", ["th", "e"]], "unk_token": None},
        "added_tokens": [{"id": 0, "content": "<s>", "special": True, "lstrip": False, "rstrip": True, "normalized": False, "single_word": False},
                         {"id": 1, "content": "</s>", "special": True}]}
    settings = {"bos_token": "<s>", "eos_token": {"content": "</s>"}, "add_bos_token": True, "chat_template": [{"name": "default", "template": "{{ 1 }}"}]}
    yield "tokenizer-json", "small", folder({
        "tokenizer.json": json.dumps(tokenizer), "tokenizer_config.json": json.dumps(settings),
        "generation_config.json": json.dumps({"eos_token_id": [1, 0]}), "special_tokens_map.json": json.dumps({"pad_token": "</s>"})})
    unigram = dict(tokenizer, model={"type": "Unigram", "unk_id": 0, "byte_fallback": False, "vocab": [["<s>", 0.0], ["\u2581", -1.5], ["a", -2.5], ["the", -3.0]]},
                   pre_tokenizer={"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "first"}, decoder={"type": "Metaspace", "replacement": "\u2581"})
    words = dict(tokenizer, model={"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100,
                                   "vocab": {"[UNK]": 0, "the": 1, "##r": 2, "river": 3}}, added_tokens=[],
                 normalizer={"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None, "lowercase": True},
                 pre_tokenizer={"type": "BertPreTokenizer"}, decoder={"type": "WordPiece", "prefix": "##", "cleanup": True}, post_processor=None)
    for name, value in (("unigram", unigram), ("wordpiece", words)):
        yield "tokenizer-json", "small-" + name, folder({"tokenizer.json": json.dumps(value)})
    pieces = [("<unk>", 0, 2), ("<s>", 0, 3), ("</s>", 0, 3), ("<0x0A>", 0, 6), ("\u2581", -1, 1), ("a", -2, 1), ("\u2581the", -3, 1), ("x y", -4, 4)]
    for kind in (1, 2):
        yield "sentencepiece", "small-%d" % kind, protobuf(pieces, kind)
    for name in sorted(os.listdir(os.path.join(FIXTURES, "templates"))):
        yield "template", name, read(FIXTURES, "templates", name)
    parts = {
        "filters": "{{ [3,1,2]|sort|join(', ') }}{{ 'a b'|title|center(20)|replace('a','b')|indent(2)|truncate(5)|urlencode|e }}{{ messages|map(attribute='role')|list|unique|tojson(indent=2) }}",
        "formats": "{{ '%s %5d %-3.2f %x'|format('a', 3, 2.5, 255) }}{{ 'x' * 3 ~ 'abc'[::-1] ~ 'abc'[1:2] ~ 2 ** 5 ~ 7 // 2 ~ -7 % 3 }}{{ '{:>5}'.format('a') }}",
        "loops": "{% for m in messages if m.role != 'tool' recursive %}{{ loop.index0 }}{{ loop.cycle('a','b') }}{% if loop.last %}{% break %}{% endif %}{% else %}x{% endfor %}",
        "macros": "{% macro f(a, b=2, *args) %}{{ a }}{{ caller() if caller }}{% endmacro %}{% call f(1) %}c{% endcall %}{% set ns = namespace(n=0) %}{% set ns.n = ns.n + 1 %}{{ ns.n }}",
        "methods": "{{ 'a,b'.split(',')|length }}{{ ' x '.strip().upper().ljust(9) }}{{ {'a': 1}.items()|list }}{{ messages[0].get('role', 'u') }}{{ range(0, 10, 2)|list }}{{ 'a'.replace('a', 'bb') }}",
        "raise": "{% if messages|length > 9 %}{{ raise_exception('too long') }}{% endif %}{{ strftime_now('%Y-%m-%d') }}{% generation %}x{% endgeneration %}{{ tools|tojson }}",
        "groups": "{{ messages|groupby('role')|list }}{{ [1,2,3]|batch(2, 0)|list }}{{ [1,2,3]|slice(2)|list }}{{ messages|selectattr('role', 'equalto', 'user')|map('upper')|list }}{{ {'b':1,'a':2}|dictsort }}{{ [1,2]|sum }}",
    }
    for name, text in parts.items():
        yield "template", name, text.encode()
    chat = {"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}
    share = {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]}
    calls = {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "tool_calls": [{"id": "x", "type": "function", "function": {
        "name": "f", "arguments": "{\"a\": 1}"}}]}, {"role": "tool", "tool_call_id": "x", "content": "r"}, {"role": "assistant", "content": "a"}],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}]}
    layouts = {"messages": chat, "share": share, "calls": calls, "alpaca": {"instruction": "i", "input": "n", "output": "o"},
               "question": {"question": "q", "answer": "a"}, "prompt": {"prompt": "p", "completion": "c"}, "text": {"text": "some text"}}
    for name, record in layouts.items():
        lines = "\n".join([json.dumps(record)] * 4).encode() + b"\n"
        yield "records", name, b"\0" + lines
        yield "records", name + "-list", b"\1" + json.dumps([record] * 4).encode()
        yield "packed", name + "-gz", b"\0" + gzip.compress(lines, mtime=0)
    table = "instruction,input,output\n\"a, \"\"b\"\"\",x,\"two\nlines\"\n1,2,3\né,,z\n"
    yield "table", "csv", b"\0" + table.encode()
    yield "table", "tsv", b"\1" + table.replace(",", "\t").encode()
    yield "table", "prompt", b"\0\xef\xbb\xbfprompt;completion\r\na;b\r\nc;d\r\n"
    yield "packed", "csv-gz", b"\2" + gzip.compress(table.encode(), mtime=0)
    if shutil.which("zstd"):
        yield "packed", "zst", b"\1" + subprocess.run(["zstd", "-q", "-c"], input=json.dumps(chat).encode() * 3, capture_output=True).stdout
    for place in ("kinds/run.yaml", "kinds/gemma.yaml", "curve/run.yaml"):
        yield "recipe", place.replace("/", "-"), read(ROOT, "Examples", place)
    yield "recipe", "small", b"model: a\ndata: [a.jsonl, b.jsonl]\noutput: o\nlora:\n  r: 8\n  lora_alpha: 16\n  target_modules: all-linear\nlearning_rate: 2e-4\nmax_steps: 10\n"
    yield "recipe", "other", b"base_model: a\ndatasets:\n  - path: a.jsonl\n    type: alpaca\nlora_r: 8\nx: &a [1, 2]\ny: *a\nval_set_size: 0.1\n"
    factors = {"base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight": [2, 8], "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight": [8, 2]}
    adapter = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 2, "lora_alpha": 4, "lora_dropout": 0.0, "target_modules": ["q_proj"], "bias": "none",
               "base_model_name_or_path": "x", "fan_in_fan_out": False, "inference_mode": True, "init_lora_weights": True, "use_rslora": False,
               "modules_to_save": None, "rank_pattern": {}, "alpha_pattern": {}, "layers_to_transform": None, "layers_pattern": None}
    files = {"adapter_config.json": json.dumps(adapter), "adapter_model.safetensors": safetensors(factors)[0]}
    yield "adapter", "small", folder(files)
    yield "adapter", "patterns", folder(dict(files, **{"adapter_config.json": json.dumps(dict(
        adapter, target_modules=".*\\.layers\\.(0|1)\\..*q_proj$", rank_pattern={"^model.*q_proj": 2}, alpha_pattern={"q_proj": 8},
        layers_to_transform=[0], layers_pattern="layers"))}))
    for name in sorted(os.listdir(SMALL)):
        at = os.path.join(SMALL, name, "adapter_init")
        if os.path.exists(at + "/adapter_config.json"):
            yield "adapter", name, folder({"adapter_config.json": read(at, "adapter_config.json"), "adapter_model.safetensors": header_of(at + "/adapter_model.safetensors")})
    state = {"global_step": 2, "loss_sum": 3.5, "tokens": 100, "trained_tokens": 50, "computed_tokens": 90, "seconds": 1.5, "skipped_steps": 0,
             "unmeasured_steps": 0, "unrecoverable_steps": 0, "rewinds": 1, "left_out_steps": [[0, 1]], "loss_scale": 4096.0, "loss_scale_good_steps": 1,
             "evaluations": [{"step": 1, "eval_loss": 2.5}]}
    moments = safetensors({"first_moment": [32], "second_moment": [32], "step_state": [5]})[0]
    yield "checkpoint", "small", folder(dict(files, **{"optimizer.safetensors": moments, "trainer_state.json": json.dumps(state)}))
    listing = {"id": "org/model", "sha": "0123456789abcdef0123456789abcdef01234567", "private": False, "siblings": [
        {"rfilename": name, "size": 10, "blobId": "b6fc4c620b67d95f953a5c1c1230aaab5db5a1b0"} for name in (
            "config.json", "tokenizer.json", "model.safetensors.index.json", "additional_chat_templates/tools.jinja")] + [
        {"rfilename": name, "size": 5000000, "lfs": {"sha256": "a" * 64, "size": 5000000, "pointerSize": 130}} for name in (
            "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")]}
    index = {"metadata": {"total_size": 1}, "weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    locations = "https://cdn.example/x?sig=1\n/b?c\n//h:99/x\n../x\nhttp://[::1]:80/\nhf://datasets/org/data@main/x.csv\n"
    yield "hub", "model", folder({"listing": json.dumps(listing), "model.safetensors.index.json": json.dumps(index), "locations": locations})
    def named(*names):
        return folder({"listing": json.dumps({"sha": "abc", "siblings": [{"rfilename": name, "size": 1 << 20} for name in names]})})
    yield "hub", "gguf", named("m-Q4_K_M-00001-of-00002.gguf", "m-Q4_K_M-00002-of-00002.gguf", "m-Q8_0.gguf", "mmproj.gguf", "README.md")
    yield "hub", "data", named("data/train-00000-of-00002.jsonl", "data/train-00001-of-00002.jsonl", "data/test.csv", "part/validation.json.gz", "x.parquet")
    run = os.path.join(ROOT, "Tests", "Fixtures", "kinds-run")
    events = read(run, "events.jsonl").split(b"\n")
    rest = {name: read(run, name) for name in ("plan.json", "summary.json", "run.yaml")}
    yield "report", "kinds", folder(dict(rest, **{"events.jsonl": b"\n".join(line for line in events[:12] + events[-6:] if len(line) < 4000)}))
    yield "report", "small", folder({"events.jsonl": b"\n".join(line for line in events if len(line) < 300)[:4000]})
    asked = [{"prompt": "a b", "id": 7}, {"messages": [{"role": "user", "content": "q"}]}, {"instruction": "i", "input": "n"}, {"question": "q"}]
    answered = [dict(record, answer="x", answer_finish_reason="stop", answer_tokens=2) for record in asked]
    named_sum = {"path": "m/config.json", "sum": "a" * 64}
    yield "state", "run", folder({
        "run.yaml": read(run, "run.yaml"), "plan.json": rest["plan.json"], "summary.json": rest["summary.json"],
        "inputs.json": json.dumps({"inputs": {"model/config.json": named_sum, "data": dict(named_sum, path="d.jsonl")}}),
        "sessions.json": json.dumps({"sessions": [{"identity": "x", "began": 1.7e9}, {"identity": None, "began": 5}]}),
        "test.json": json.dumps({"key": "k", "found": {"merged": {"loss": 1.5, "answers_right": 0.5, "answers": ["a"], "failure": None}}}),
        "files.json": json.dumps({"adapter": {"key": "k", "files": {"adapter_config.json": "a" * 64}}}),
        "changes.json": json.dumps({"accepted": [{"step": 3, "changes": ["seed: 1 -> 2"]}]}),
        "predictions.json": json.dumps({"entries": [{"device": "cpu", "model": "m", "alone": {"train": [1.5, 2.0], "merge": [0.9]}}]}),
        "adapter/adapter_config.json": files["adapter_config.json"], "adapter/adapter_model.safetensors": files["adapter_model.safetensors"]})
    yield "state", "answers", folder({
        "asked.jsonl": "".join(json.dumps(record) + "\n" for record in asked),
        "answers.jsonl": "".join(json.dumps(record) + "\n" for record in answered)})
    small_yaml = "model: m\ndata: d.jsonl\noutput: s\nseed: 3\n"
    yield "state", "events", folder({"run.yaml": small_yaml, "plan.json": "{}", "events.jsonl": b"\n".join(line for line in events if len(line) < 300)[:4000]})
    split = dict.fromkeys(("rows_in_file", "rows", "samples", "unusable", "truncated", "duplicates", "empty_answers", "opens_with_answer", "without_end",
                           "double_bos", "ends_twice", "special_in_content", "splits_differ", "trained_tokens"), 3)
    lengths = {"mean": 3.5, "p50": 3, "p95": 4, "p99": 4, "max": 4, "total": 7, "histogram": [{"from": 0, "to": 8, "samples": 2}]}
    split.update({"source": "a.jsonl", "layout": "messages", "lengths": lengths, "first_special": "x", "ignored_keys": ["k"],
                  "unusable_records": [{"place": "a:1", "reason": "r", "fix": "f"}]})
    report = {"train": split, "validation": split, "overlap": 1, "mistakes": [{"what": "w", "fix": "f"}], "warnings": ["w"], "notes": ["n"]}
    header = json.dumps({"key": "k", "data_sum": "s", "train": 1, "validation": 0, "held_out": 1, "report": report}).encode()
    rows = struct.pack("<Qiiii", 0, 0, 4, 2, 0) + struct.pack("<Qiiii", 16, 1, 2, 3, 1)
    yield "store", "small", b"LORISMP1" + struct.pack("<Q", len(header)) + header + rows
    yield "hub", "pickle", named("pytorch_model.bin", "flax_model.msgpack")


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    left_out = 0
    for target, name, data in seeds():
        if len(data) > LARGEST:
            left_out += 1
            continue
        at = os.path.join(sys.argv[1], target)
        os.makedirs(at, exist_ok=True)
        with open(os.path.join(at, name), "wb") as file:
            file.write(data)
    print("fuzz_seeds: %d of more than %d bytes left out" % (left_out, LARGEST))


if __name__ == "__main__":
    main()
