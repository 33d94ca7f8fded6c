"""What lorikeet writes, read by the tools it is written for, and what they write, read by lorikeet.

    pip install torch transformers peft bitsandbytes safetensors llama-cpp-python
    python interoperability.py LORIKEET                                     every family, on tiny random models
    python interoperability.py LORIKEET --families llama,gemma2 --work DIR
    python interoperability.py LORIKEET --families none --models SmolLM2.gguf gemma-3-270m.gguf

For each family it makes a random model with a tokenizer and an adapter by PEFT, and checks
  peft → ours    doctor --reference: base + PEFT's adapter in this engine against PEFT's logits, losses and gradients
  merge          merge in float32: every tensor against PEFT's merge_and_unload
  transformers   the merged folder (float32) in transformers: logits against base + adapter
  ours → peft    an adapter that `lorikeet train` made, in PEFT: logits, losses and gradients against this engine's
  f16            `lorikeet export` of the merged folder, in llama.cpp: logits against transformers'
  q8_0           the same, beside llama.cpp's own Q8_0 of the same tensors (in brackets): every tensor's type equal and its error no higher, and the
                 logits no farther from transformers'
  hf f16, q8_0   the same files in transformers' own GGUF reader; `-` where it does not know the family, `*` where it needs config.json
and for each real model (a GGUF)
  ids            token ids of texts in the merged folder's tokenizer against lorikeet's (`check --json`)
  answers        greedy answers of the merged folder in transformers against lorikeet's, word for word, to texts and to conversations
  llama.cpp text the same of its F16 GGUF in llama.cpp, and llama.cpp's token ids
and the logits as above. A number is the largest difference of a logit (of a weight) over the largest value; of Q8_0 it is the root mean square
difference over the root mean square value, for ours and in brackets for llama.cpp's own Q8_0 of the same tensors. Limits stand in LIMITS and FACTOR.
Prints a table; exit 1 where a check fails. It runs for some minutes, and is no part of CI.
"""
import argparse, itertools, json, os, shutil, subprocess, sys, tempfile
sys.argv, ARGUMENTS = [sys.argv[0], "--small"], sys.argv[1:]
import torch, transformers
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
import make_reference as reference
from llama_quantiser import is_higher, quantise_file, roots, tensor_errors

transformers.logging.set_verbosity_error()
# Rows for every token of the tokenizer below.
reference.V = reference.COMMON["vocab_size"] = 128
FAMILIES = ["llama", "mistral", "ministral3", "qwen2", "qwen3", "smollm3", "gemma", "gemma2", "gemma3_text", "phi3", "granite", "olmo2", "olmo3", "glm4"]
# Sums in another order; float16 and 8-bit weights, of which llama.cpp rounds the activations too.
LIMITS = {"peft → ours": 2e-5, "ours → peft": 2e-5, "merge": 1e-6, "transformers": 2e-5, "f16": 1e-2, "q8_0": 6e-2, "hf f16": 4e-3, "hf q8_0": 6e-2, "logits": 1e-4}
# By how much our Q8_0's number may exceed that of llama.cpp's.
FACTOR = 1.5
COLUMNS = ["peft → ours", "merge", "transformers", "ours → peft", "f16", "q8_0", "hf f16", "hf q8_0"]
TEXTS = ["What is an otter?", "  two spaces,\nand a line", "naïve café 東京 🦦", "x = 12345 + 0.5", "<|im_start|>user\nhello<|im_end|>"]
# For base models, whose files have no template.
TEMPLATES = {"gemma3_text": "{{ bos_token }}{% for m in messages %}<start_of_turn>{{ 'model' if m['role'] == 'assistant' else m['role'] }}\n"
             "{{ m['content'] }}<end_of_turn>\n{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"}
PROMPTS = ["What is the capital of France?", "Name three rivers.", "What is 2 + 2?"]


class Failure(Exception):
    pass


def run(lorikeet, *words, **more):
    done = subprocess.run([lorikeet, *map(str, words)], capture_output=True, text=True, **more)
    if done.returncode:
        raise Failure(f"lorikeet {words[0]} ended with {done.returncode}: {(done.stderr or done.stdout).strip().splitlines()[-1:]}")
    return done.stdout


def apart(ours, theirs):
    """The largest difference over the largest value."""
    if ours.shape != theirs.shape: raise Failure(f"shape {tuple(ours.shape)} and not {tuple(theirs.shape)}")
    value = ((ours.float() - theirs.float()).abs().max() / theirs.float().abs().max()).item()
    return float("inf") if value != value else value


def load(folder, **more):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager", **more).eval()


def logits(model, ids):
    with torch.no_grad(): return model(input_ids=ids).logits.float()


def write_tokenizer(folder):
    """One token a character, and a template."""
    marks = ["<pad>", "<s>", "</s>"]
    characters = ["Ċ", "Ġ"] + [chr(code) for code in range(33, 127)]
    added = [dict(id=i, content=mark, special=True, single_word=False, lstrip=False, rstrip=False, normalized=False) for i, mark in enumerate(marks)]
    tokenizer = dict(
        version="1.0", truncation=None, padding=None, added_tokens=added, normalizer=None, post_processor=None,
        model=dict(type="BPE", vocab={text: i for i, text in enumerate(marks + characters)}, merges=[]),
        pre_tokenizer=dict(type="ByteLevel", add_prefix_space=False, use_regex=True), decoder=dict(type="ByteLevel"))
    template = "{% for m in messages %}{{ m['content'] }}{% if m['role'] == 'assistant' %}</s>{% else %}: {% endif %}{% endfor %}"
    settings = dict(tokenizer_class="PreTrainedTokenizerFast", bos_token="<s>", eos_token="</s>", pad_token="<pad>", chat_template=template)
    json.dump(tokenizer, open(f"{folder}/tokenizer.json", "w"))
    json.dump(settings, open(f"{folder}/tokenizer_config.json", "w"))


def write_data(path):
    with open(path, "w") as file:
        for number in range(24):
            file.write(json.dumps(dict(prompt=f"say {number % 7}", completion="ab" * (1 + number % 3))) + "\n")


# Checks: each returns a number, or None where it passes by itself.

def doctor(lorikeet, folder):
    """The largest deviation as a share of its own limit; AdamW's steps and NF4's tables, which these folders lack, are not tested here."""
    done = subprocess.run([lorikeet, "doctor", "--reference", folder, "--device", "cpu", "--json"], capture_output=True, text=True)
    try:
        results = json.loads(done.stdout)
    except ValueError:
        raise Failure(f"doctor ended with {done.returncode}: {done.stderr.strip()[-300:]}")
    compared = [result for result in results if result["tolerance"]]
    for kind in ["logits", "loss", "grad."]:
        if not any(result["name"].startswith(kind) for result in compared): raise Failure(f"doctor compared no {kind}")
    wrong = [result for result in results if result["pass"] is False]
    if wrong: raise Failure(f"{wrong[0]['name']}: {wrong[0]['measured']} exceeds {wrong[0]['tolerance']}" + (f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""))
    return max(result["measured"] for result in compared if result["name"].startswith("logits"))


def check_merge(folder, merged):
    model = PeftModel.from_pretrained(load(folder), f"{folder}/adapter_init").merge_and_unload()
    theirs, ours = dict(model.state_dict()), {}
    for name in os.listdir(merged):
        if name.endswith(".safetensors"): ours.update(load_file(f"{merged}/{name}"))
    if model.config.tie_word_embeddings: theirs.pop("lm_head.weight", None)
    if set(ours) != set(theirs): raise Failure(f"tensors differ: {sorted(set(ours) ^ set(theirs))[:4]}")
    return max(apart(ours[name], tensor) for name, tensor in theirs.items())


def check_train(lorikeet, folder, work):
    """The folder's model with an adapter that lorikeet trained and PEFT's numbers of both, for `doctor`."""
    run(lorikeet, "train", "--model", folder, "--data", f"{work}/train.jsonl", "--output", f"{work}/run", "--device", "cpu", "--max-steps", 4, "--max-length", 48,
        "--learning-rate", 0.05, "--warmup-steps", 0, "--lora-r", 2, "--target-modules", "all-linear", "--base-storage", "f32", "--per-device-train-batch-size", 2,
        "--gradient-accumulation-steps", 1, "--template-date", "2026-01-01")
    trained = f"{work}/trained"
    shutil.copytree(folder, trained)
    shutil.rmtree(f"{trained}/adapter_init")
    shutil.copytree(f"{work}/run/adapter", f"{trained}/adapter_init")
    base = load(folder)
    ids = reference.batch()[0][:1]
    before = logits(base, ids)
    adapted = PeftModel.from_pretrained(base, f"{trained}/adapter_init", is_trainable=True)
    if apart(logits(adapted, ids), before) < 1e-4: raise Failure("the trained adapter changes nothing")
    # The adapter's dropout is not part of what is compared.
    adapted.eval()
    reference.numbers(base, adapted, os.path.basename(folder), trained)
    return doctor(lorikeet, trained)


def llama_cpp(path, ids):
    from llama_cpp import Llama
    model = Llama(path, n_ctx=max(64, len(ids)), n_batch=64, logits_all=True, verbose=False)
    model.eval(ids)
    return torch.tensor(model.scores[: len(ids)]).clone(), model


def check_gguf(path, ids, expected):
    return apart(llama_cpp(path, ids[0].tolist())[0], expected[0])


def spread(ours, theirs):
    """The root mean square of the differences over that of the values: less a matter of chance than the largest."""
    if ours.shape != theirs.shape: raise Failure(f"shape {tuple(ours.shape)} and not {tuple(theirs.shape)}")
    return ((ours.float() - theirs.float()).square().mean() / theirs.float().square().mean()).sqrt().item()


def check_tensors(full, ours, theirs):
    for name, our_type, their_type, found in tensor_errors(full, ours, theirs):
        if our_type != their_type: raise Failure(f"{name} is {our_type}, with llama.cpp {their_type}")
        if found is not None and is_higher(found): raise Failure(f"the error of {name} is {roots(found[0])}, with llama.cpp {roots(found[1])}")


class Number(float):
    """A measured number, with what is shown of it."""
    def __new__(cls, value, theirs=None, mark=""):
        self = float.__new__(cls, value)
        # That of llama.cpp's own file, where there is one.
        self.theirs, self.mark = theirs, mark
        return self

    def __str__(self): return f"{float(self):.1e}" + self.mark + (f" ({self.theirs:.1e})" if self.theirs is not None else "")


def check_reader(path, merged, measure, limit, theirs=None):
    """`measure` of a file, and of llama.cpp's own, in transformers' reader. The reader drops keys of some families' metadata (Qwen 3's head_dim, Gemma 2's
    and 3's query_pre_attn_scalar), also of files that llama.cpp's own converter wrote; such a file is read with config.json, and its number is marked."""
    def read(path, **more): return measure(load(os.path.dirname(path), gguf_file=os.path.basename(path), **more))
    value, more = float("inf"), {}
    try:
        value = read(path)
    except ValueError as error:
        if "not supported" in str(error): return "-"
    except RuntimeError as error:
        if "mismatched" not in str(error): raise
    if not value <= limit:
        more = dict(config=AutoConfig.from_pretrained(merged))
        value = read(path, **more)
    return Number(value, theirs and read(theirs, **more), "*" if more else "")


def export(lorikeet, merged, work, form):
    """The path of the GGUF of a merged folder in a form."""
    folder = f"{work}/gguf-{form}"
    run(lorikeet, "export", "--model", merged, "--output", folder, "--form", form)
    return next(f"{folder}/{name}" for name in os.listdir(folder) if name.endswith(".gguf"))


class Table:
    def __init__(self):
        self.rows, self.failures = {}, []

    def check(self, row, column, body):
        try:
            value = body()
            if isinstance(value, float): value = value if isinstance(value, Number) else Number(value)
            shown = "pass" if value is None else str(value)
            if isinstance(value, Number):
                limit = min(LIMITS[column], FACTOR * value.theirs if value.theirs is not None else float("inf"))
                if not value <= limit: raise Failure(f"{value} exceeds {limit:.1e}")
        except Exception as error:
            shown = "FAIL"
            self.failures.append(f"{row}, {column}: {type(error).__name__ if not isinstance(error, Failure) else ''} {str(error)[:600]}")
        self.rows.setdefault(row, {})[column] = shown
        print(f"{row}: {column}: {shown}", flush=True)
        return shown != "FAIL"

    def print(self, columns):
        width = max(map(len, [*self.rows, ""])) + 2
        print("\n" + " " * width + "".join(column.ljust(18) for column in columns))
        for row, values in self.rows.items():
            print(row.ljust(width) + "".join(values.get(column, "").ljust(18) for column in columns))


def family(table, lorikeet, name, work):
    os.makedirs(work)
    reference.main(work, [name])
    folder, merged = f"{work}/{name}", f"{work}/merged"
    write_tokenizer(folder)
    write_data(f"{work}/train.jsonl")
    expected = load_file(f"{folder}/expected.safetensors")
    # The first row is as long as the batch is wide: nothing of it is padding.
    ids = expected["input_ids"][:1]
    table.check(name, "peft → ours", lambda: doctor(lorikeet, folder))
    if not table.check(name, "merge", lambda: run(lorikeet, "merge", "--model", folder, "--adapter", f"{folder}/adapter_init", "--output", merged, "--dtype",
                                                  "float32") and check_merge(folder, merged)): return
    table.check(name, "transformers", lambda: apart(logits(load(merged), ids), expected["logits"][:1]))
    table.check(name, "ours → peft", lambda: check_train(lorikeet, folder, work))
    # GGUF has no place for Mistral's window (docs/models.md): tokens within it.
    if name == "mistral": ids = ids[:, : AutoConfig.from_pretrained(merged).sliding_window]
    gguf_columns(table, lorikeet, name, merged, work, ids, logits(load(merged), ids))


def gguf_columns(table, lorikeet, row, merged, work, ids, expected):
    paths, theirs = {}, f"{work}/llama.cpp.q8_0.gguf"
    def f16():
        paths["f16"] = export(lorikeet, merged, work, "f16")
        return check_gguf(paths["f16"], ids, expected)
    def q8_0():
        paths["q8_0"], full = (export(lorikeet, merged, work, form) for form in ["q8_0", "f32"])
        quantise_file(full, theirs, "q8_0")
        check_tensors(full, paths["q8_0"], theirs)
        return Number(*(spread(llama_cpp(path, ids[0].tolist())[0], expected[0]) for path in (paths["q8_0"], theirs)))
    table.check(row, "f16", f16)
    if "f16" in paths: table.check(row, "hf f16", lambda: check_reader(paths["f16"], merged, lambda model: apart(logits(model, ids), expected), LIMITS["hf f16"]))
    table.check(row, "q8_0", q8_0)
    if os.path.exists(theirs): table.check(row, "hf q8_0", lambda: check_reader(paths["q8_0"], merged, lambda model: spread(logits(model, ids), expected), LIMITS["hf q8_0"], theirs))
    return paths


def real(table, lorikeet, gguf, work):
    """A real model: an adapter by PEFT on what its GGUF holds, merged by lorikeet, read by all."""
    row = os.path.basename(gguf).split(".")[0]
    os.makedirs(work)
    plain, adapter, merged = f"{work}/plain", f"{work}/adapter", f"{work}/merged"
    # A zero adapter gives the base as a folder; PEFT makes its adapter on that.
    shape = dict(r=2, lora_alpha=2, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    base = None
    def make():
        nonlocal base
        zero = f"{work}/zero"
        write_zero_adapter(gguf, zero, shape)
        run(lorikeet, "merge", "--model", gguf, "--adapter", zero, "--output", plain, "--dtype", "float32")
        torch.manual_seed(3)
        base = load(plain)
        adapted = get_peft_model(base, LoraConfig(**shape))
        with torch.no_grad():
            for name, parameter in adapted.named_parameters():
                if "lora_B" in name: parameter.copy_(0.002 * torch.randn_like(parameter))
        adapted.save_pretrained(adapter)
        base = adapted.merge_and_unload()
        run(lorikeet, "merge", "--model", gguf, "--adapter", adapter, "--output", merged, "--dtype", "float32")
        if AutoTokenizer.from_pretrained(merged).chat_template is None:
            settings = json.load(open(f"{merged}/tokenizer_config.json"))
            settings["chat_template"] = TEMPLATES[base.config.model_type]
            json.dump(settings, open(f"{merged}/tokenizer_config.json", "w"))
    if not table.check(row, "merge", make): return
    tokenizer = AutoTokenizer.from_pretrained(merged)
    ids = torch.tensor([tokenizer(" ".join(TEXTS), add_special_tokens=False)["input_ids"][:48]])
    table.check(row, "transformers", lambda: apart(logits(load(merged), ids), logits(base, ids)))
    table.check(row, "ids", lambda: check_ids(lorikeet, merged, tokenizer, work))
    model = load(merged)
    ours = {}
    # As text, with what the tokenizer puts around it (Gemma's <bos>), and as a conversation.
    def given(prompt, is_chat):
        if not is_chat: return tokenizer(prompt)["input_ids"]
        text = tokenizer.apply_chat_template([dict(role="user", content=prompt)], add_generation_prompt=True, tokenize=False)
        return tokenizer(text, add_special_tokens=False)["input_ids"]
    def same(tokens, prompt, is_chat):
        text = tokenizer.decode(tokens, skip_special_tokens=True)
        if text.strip() != ours[prompt, is_chat].strip(): raise Failure(f"'{prompt}'{' in the template' if is_chat else ''}: {text!r} and not {ours[prompt, is_chat]!r}")
    def answers():
        settings = ["--max-new-tokens", 24, "--json", "--base-storage", "f32", "--device", "cpu"]
        for prompt, is_chat in itertools.product(PROMPTS, [False, True]):
            ours[prompt, is_chat] = json.loads(run(lorikeet, "generate", "--model", merged, "--prompt", prompt, *([] if is_chat else ["--raw"]), *settings))["answer"]
        for prompt, is_chat in ours:
            before = torch.tensor([given(prompt, is_chat)])
            with torch.no_grad(): out = model.generate(input_ids=before, attention_mask=torch.ones_like(before), max_new_tokens=24, do_sample=False)
            same(out[0][before.shape[1]:], prompt, is_chat)
    table.check(row, "answers", answers)
    paths = gguf_columns(table, lorikeet, row, merged, work, ids, logits(model, ids))
    def in_llama_cpp():
        for prompt, is_chat in ours:
            before = given(prompt, is_chat)
            _, llama = llama_cpp(paths["f16"], before)
            # `add_bos` lets the file say whether there is one.
            found = before if is_chat else llama.tokenize(prompt.encode(), add_bos=True, special=True)
            if found != before: raise Failure(f"'{prompt}': ids {found} and not {before}")
            out = []
            for token in llama.generate(before, temp=0.0, repeat_penalty=1.0):
                if token == llama.token_eos() or len(out) == 24: break
                out.append(token)
            same(out, prompt, is_chat)
    table.check(row, "llama.cpp text", in_llama_cpp)


def write_zero_adapter(gguf, folder, shape):
    """An adapter of zeros, with the sizes that the GGUF's metadata give."""
    from gguf import GGUFReader
    from safetensors.torch import save_file
    os.makedirs(folder)
    tensors = {}
    for tensor in GGUFReader(gguf).tensors:
        parts = tensor.name.split(".")
        module = {"attn_q": "q_proj", "attn_v": "v_proj"}.get(parts[2]) if parts[0] == "blk" else None
        if module is None or parts[-1] != "weight": continue
        columns, rows = int(tensor.shape[0]), int(tensor.shape[1])
        prefix = f"base_model.model.model.layers.{parts[1]}.self_attn.{module}."
        tensors[prefix + "lora_A.weight"] = torch.zeros(shape["r"], columns)
        tensors[prefix + "lora_B.weight"] = torch.zeros(rows, shape["r"])
    save_file(tensors, f"{folder}/adapter_model.safetensors", metadata={"format": "pt"})
    json.dump(dict(peft_type="LORA", bias="none", **shape), open(f"{folder}/adapter_config.json", "w"))


def check_ids(lorikeet, merged, tokenizer, work):
    with open(f"{work}/texts.jsonl", "w") as file:
        for text in TEXTS: file.write(json.dumps(dict(text=text)) + "\n")
    report = json.loads(run(lorikeet, "check", "--model", merged, "--data", f"{work}/texts.jsonl", "--rows", f"0-{len(TEXTS) - 1}", "--json"))
    rows = report.get("samples", [])
    if len(rows) != len(TEXTS): raise Failure(f"check shows {len(rows)} rows: {list(report)}")
    for text, row in zip(TEXTS, rows):
        theirs = tokenizer(text, add_special_tokens=False)["input_ids"]
        found = row["ids"]
        # A sample may begin and end with the model's own marks.
        marks = {tokenizer.bos_token_id, tokenizer.eos_token_id}
        while found and found[0] in marks and found[: 1] != theirs[: 1]: found = found[1:]
        while found and found[-1] in marks and len(found) > len(theirs): found = found[:-1]
        if found != theirs: raise Failure(f"{text!r}: {found} and not {theirs}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("lorikeet")
    parser.add_argument("--families", default=",".join(FAMILIES), help="names of make_reference.py, or none")
    parser.add_argument("--models", nargs="*", default=[], help="GGUF files of real models")
    parser.add_argument("--work", help="a folder that is kept")
    options = parser.parse_args(ARGUMENTS)
    torch.set_num_threads(2)
    work = options.work or tempfile.mkdtemp(prefix="interoperability-")
    os.makedirs(work, exist_ok=True)
    table = Table()
    lorikeet = os.path.abspath(options.lorikeet)
    try:
        for name in options.families.split(",") if options.families != "none" else []: family(table, lorikeet, name, f"{work}/{name}-work")
        for gguf in options.models: real(table, lorikeet, os.path.abspath(gguf), f"{work}/{os.path.basename(gguf)}-work")
    finally:
        if not options.work: shutil.rmtree(work)
    table.print(COLUMNS + (["ids", "answers", "llama.cpp text"] if options.models else []))
    print(f"\ntransformers {transformers.__version__}, torch {torch.__version__}")
    for failure in table.failures: print("FAIL " + failure)
    return 1 if table.failures else 0


if __name__ == "__main__":
    sys.exit(main())
