"""Rows that training moved off the grid of a 4-bit base, and what llama.cpp's quantiser leaves of the change: quantisation/trained.safetensors (blocks of
Q4_1, Q4_0 and Q4_K, and the two factors of the change) with quantisation/trained.json (for each base and type the errors of llama.cpp's blocks, weighted and
plain, and the part of the change that they keep).

    lorikeet run … --target-modules all-linear      (the base: SmolLM2 as GGUF of Q4_1)
    python make_trained_rows.py BASE.gguf OUT/adapter        (llama-cpp-python 0.3.36, gguf, safetensors)
"""
import json
import os
import sys

import gguf
import numpy as np
from safetensors.numpy import load_file, save_file

from llama_quantiser import TYPES, kind, quantise, quantised, roots, sums

here = os.path.dirname(os.path.abspath(__file__)) + "/quantisation"
rows = 64
tensor = next(t for t in gguf.GGUFReader(sys.argv[1]).tensors if t.name == "blk.7.ffn_down.weight")
assert tensor.tensor_type == kind("q4_1")
adapter = load_file(sys.argv[2] + "/adapter_model.safetensors")
settings = json.load(open(sys.argv[2] + "/adapter_config.json"))
prefix = "base_model.model.model.layers.7.mlp.down_proj."
a, b = adapter[prefix + "lora_A.weight"].astype(np.float32), adapter[prefix + "lora_B.weight"][:rows].astype(np.float32)
b = b * np.float32(settings["lora_alpha"] / settings["r"])
own = gguf.dequantize(tensor.data[:rows], kind("q4_1"))
found, table = {"a": a, "b": b}, {}
for name in ("q4_1", "q4_0", "q4_K"):
    found[name] = tensor.data[:rows] if name == "q4_1" else quantise(own, name)
    base = gguf.dequantize(found[name], kind(name))
    values = base + b @ a
    change = (values - base).astype(np.float64)
    table[name] = {}
    for type in TYPES:
        theirs = quantised(values, type)
        table[name][type] = [*roots(sums(values, theirs, type)), float(((theirs - base) * change).sum() / (change**2).sum())]
save_file({name: np.ascontiguousarray(value) for name, value in found.items()}, here + "/trained.safetensors")
with open(here + "/trained.json", "w") as out:
    json.dump(table, out)
    out.write("\n")
