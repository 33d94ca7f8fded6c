"""A model of a known shape with random bfloat16 weights: what loading is measured on.

    python3 Scripts/make_random_model.py OUTPUT [llama-3.2-1b]

OUTPUT becomes a Hugging Face directory: config.json and safetensors in two shards (llama-3.2-1b: 2.5 GB, written in a few seconds), without a
tokenizer. The shapes are those of `lorikeet bench --shape`. One random block is written again and again, from another place for each
tensor: weights of both signs between 0.008 and 0.03. Needs Python alone.
"""
import json, os, random, sys

SHAPES = {
    "smollm2-135m": dict(hidden=576, layers=30, heads=9, kv=3, head=64, ff=1536, vocabulary=49152, tied=True),
    "llama-3.2-1b": dict(hidden=2048, layers=16, heads=32, kv=8, head=64, ff=8192, vocabulary=128256, tied=True),
    "llama-7b": dict(hidden=4096, layers=32, heads=32, kv=32, head=128, ff=11008, vocabulary=32000, tied=False),
    "qwen3-8b": dict(hidden=4096, layers=36, heads=32, kv=8, head=128, ff=12288, vocabulary=151936, tied=False, family=("qwen3", "Qwen3ForCausalLM")),
}
BLOCK = 16 << 20


def family(s):
    """model_type, and the class that config.json names."""
    return s.get("family", ("llama", "LlamaForCausalLM"))


def tensors(s):
    """(name, shape) in the model's order."""
    yield "model.embed_tokens.weight", [s["vocabulary"], s["hidden"]]
    for i in range(s["layers"]):
        name = "model.layers.%d." % i
        yield name + "input_layernorm.weight", [s["hidden"]]
        yield name + "self_attn.q_proj.weight", [s["heads"] * s["head"], s["hidden"]]
        yield name + "self_attn.k_proj.weight", [s["kv"] * s["head"], s["hidden"]]
        yield name + "self_attn.v_proj.weight", [s["kv"] * s["head"], s["hidden"]]
        if family(s)[0] == "qwen3":
            yield name + "self_attn.q_norm.weight", [s["head"]]
            yield name + "self_attn.k_norm.weight", [s["head"]]
        yield name + "self_attn.o_proj.weight", [s["hidden"], s["heads"] * s["head"]]
        yield name + "post_attention_layernorm.weight", [s["hidden"]]
        yield name + "mlp.gate_proj.weight", [s["ff"], s["hidden"]]
        yield name + "mlp.up_proj.weight", [s["ff"], s["hidden"]]
        yield name + "mlp.down_proj.weight", [s["hidden"], s["ff"]]
    yield "model.norm.weight", [s["hidden"]]
    if not s["tied"]:
        yield "lm_head.weight", [s["vocabulary"], s["hidden"]]


def byte_count(shape):
    """Of a tensor in a 16-bit type."""
    count = 2
    for dimension in shape:
        count *= dimension
    return count


def random_block():
    """bfloat16 numbers, little-endian: any low byte below a high byte of 0x3c or 0xbc."""
    generator = random.Random(0)
    block = bytearray(BLOCK)
    block[0::2] = generator.randbytes(BLOCK // 2)
    block[1::2] = generator.randbytes(BLOCK // 2).translate(bytes(0x3C if i < 128 else 0xBC for i in range(256)))
    return memoryview(bytes(block))


def write_shard(path, part, block):
    header, at = {}, 0
    for name, shape in part:
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [at, at + byte_count(shape)]}
        at += byte_count(shape)
    text = json.dumps(header).encode()
    text += b" " * (-(len(text) + 8) % 64)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for number, (name, shape) in enumerate(part):
            missing = byte_count(shape)
            if len(shape) == 1:
                file.write(b"\x80\x3f" * shape[0])  # 1
                continue
            start = number * 2 * 999_983 % BLOCK
            while missing > 0:
                piece = block[start : start + missing]
                file.write(piece)
                missing -= len(piece)
                start = 0


def main():
    if len(sys.argv) not in (2, 3) or (len(sys.argv) == 3 and sys.argv[2] not in SHAPES):
        sys.exit("usage: make_random_model.py OUTPUT [%s]" % "|".join(SHAPES))
    folder, s = sys.argv[1], SHAPES[sys.argv[2] if len(sys.argv) == 3 else "llama-3.2-1b"]
    os.makedirs(folder, exist_ok=True)
    everything = list(tensors(s))
    total, first, half = sum(byte_count(shape) for _, shape in everything), [], 0
    while half < total // 2:
        first.append(everything[len(first)])
        half += byte_count(first[-1][1])
    shards = {"model-00001-of-00002.safetensors": first, "model-00002-of-00002.safetensors": everything[len(first) :]}
    block = random_block()
    for name, part in shards.items():
        write_shard(os.path.join(folder, name), part, block)
    places = {name: shard for shard, part in shards.items() for name, _ in part}
    with open(os.path.join(folder, "model.safetensors.index.json"), "w") as file:
        json.dump({"metadata": {"total_size": total}, "weight_map": places}, file)
    config = {
        "model_type": family(s)[0], "architectures": [family(s)[1]], "hidden_size": s["hidden"], "intermediate_size": s["ff"],
        "num_hidden_layers": s["layers"], "num_attention_heads": s["heads"], "num_key_value_heads": s["kv"], "head_dim": s["head"],
        "vocab_size": s["vocabulary"], "tie_word_embeddings": s["tied"], "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "hidden_act": "silu",
        "max_position_embeddings": 8192, "torch_dtype": "bfloat16",
    }
    with open(os.path.join(folder, "config.json"), "w") as file:
        json.dump(config, file, indent=1)
    print("%s: %d tensors, %d bytes" % (folder, len(everything), total))


if __name__ == "__main__":
    main()
