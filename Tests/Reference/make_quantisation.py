"""What llama.cpp's quantiser makes of real models, for the tests of ours: quantisation/mix.json, the type that it gives each tensor, and
quantisation/rows.safetensors with quantisation/errors.json, some real rows and the errors of its blocks.

    python make_quantisation.py SMOLLM2.gguf GEMMA3.gguf        (llama-cpp-python 0.3.36, gguf, safetensors)
"""
import json
import os
import sys

import gguf
import numpy as np
from safetensors.numpy import save_file

from llama_quantiser import FORMS, TYPES, mixed, quantised, roots, sums

here = os.path.dirname(os.path.abspath(__file__)) + "/quantisation"
os.makedirs(here, exist_ok=True)
files = {"SmolLM2 135M": gguf.GGUFReader(sys.argv[1]), "Gemma 3 270M": gguf.GGUFReader(sys.argv[2])}


def field(reader, key):
    architecture = reader.fields["general.architecture"].contents()
    return reader.fields[f"{architecture}.{key}"].contents()


def shapes(hidden, inner, layers, rows, *, vocabulary=512, head=True, fused=False):
    """A decoder's tensors: `rows` of q and of k and v; fused as Phi-3 has them."""
    tensors = [("token_embd.weight", [vocabulary, hidden]), ("output_norm.weight", [hidden])] + [("output.weight", [vocabulary, hidden])] * head
    q, k = rows
    for layer in range(layers):
        attention = [("attn_qkv", [q + 2 * k, hidden])] if fused else [("attn_q", [q, hidden]), ("attn_k", [k, hidden]), ("attn_v", [k, hidden])]
        feed = [("ffn_up", [2 * inner, hidden])] if fused else [("ffn_gate", [inner, hidden]), ("ffn_up", [inner, hidden])]
        parts = attention + [("attn_output", [hidden, q])] + feed + [("ffn_down", [hidden, inner]), ("attn_norm", [hidden]), ("ffn_norm", [hidden])]
        tensors += [(f"blk.{layer}.{name}.weight", shape) for name, shape in parts]
        tensors += [] if fused else [(f"blk.{layer}.attn_q.bias", [q])]
    return tensors


models = [
    (name, field(reader, "block_count"), field(reader, "attention.head_count"), field(reader, "attention.head_count_kv"),
     reader.fields["general.architecture"].contents(), [(t.name, [int(n) for n in reversed(t.shape)]) for t in reader.tensors])
    for name, reader in files.items()]
models += [
    ("Llama 3 8B", 32, 32, 8, "llama", shapes(4096, 14336, 32, (4096, 1024))),
    ("Llama 3 70B", 80, 64, 8, "llama", shapes(8192, 28672, 80, (8192, 1024))),
    ("Llama of 80 layers without shared heads", 80, 64, 64, "llama", shapes(8192, 22016, 80, (8192, 8192))),
    ("Phi-3 mini", 32, 32, 32, "phi3", shapes(3072, 8192, 32, (3072, 3072), fused=True)),
    ("Qwen2 0.5B", 24, 14, 2, "qwen2", shapes(896, 4864, 24, (896, 128), head=False)),
    ("tied rows that 256 divides", 5, 4, 2, "granite", shapes(512, 1024, 5, (512, 256), head=False)),
    ("untied rows that 256 does not divide", 5, 4, 2, "qwen3", shapes(320, 576, 5, (320, 160))),
    ("rows that 32 does not divide", 3, 4, 2, "olmo2", shapes(48, 80, 3, (48, 24))),
]
letters = {"f32": "f", "f16": "h", "bf16": "b", "q8_0": "8", "q4_0": "4", "q5_0": "5", "q5_1": "6", "q4_K": "r", "q5_K": "s", "q6_K": "t"}
table = [
    {"name": name, "layers": layers, "heads": heads, "key_heads": key_heads, "architecture": architecture, "tensors": tensors,
     "types": {form: "".join(letters[t] for t in mixed(architecture, layers, heads, key_heads, tensors, form)) for form in FORMS}}
    for name, layers, heads, key_heads, architecture, tensors in models]
with open(here + "/mix.json", "w") as out:
    json.dump({"letters": letters, "file_types": FORMS, "models": table}, out, separators=(",", ":"))
    out.write("\n")

# The files' own weights come from blocks already: a change of low rank, as an adapter makes it, takes them off the blocks' grid.
generator = np.random.default_rng(0)
rows, table = {}, {}
for model, name in [("SmolLM2 135M", "blk.7.ffn_down.weight"), ("SmolLM2 135M", "blk.20.ffn_down.weight"),
                    ("Gemma 3 270M", "blk.3.ffn_down.weight"), ("Gemma 3 270M", "blk.12.attn_output.weight")]:
    tensor = next(t for t in files[model].tensors if t.name == name)
    weights = gguf.dequantize(tensor.data, tensor.tensor_type)
    weights += 0.02 * weights.std() * (generator.standard_normal((len(weights), 8)) @ generator.standard_normal((8, weights.shape[1])))
    case = f"{model} {name}"
    rows[case] = weights[:: len(weights) // 6][:6].astype(np.float16)
    values = rows[case].astype(np.float32)
    table[case] = {t: roots(sums(values, quantised(values, t), t)) for t in TYPES}
save_file(rows, here + "/rows.safetensors")
with open(here + "/errors.json", "w") as out:
    json.dump(table, out)
    out.write("\n")
for name in sorted(os.listdir(here)):
    print(name, os.path.getsize(f"{here}/{name}"))
