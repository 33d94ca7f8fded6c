"""A quantised GGUF file of ours beside llama.cpp's quantisation of the same model: the types and errors of all tensors, and perplexities.

    lorikeet export … (f32 and, for instance, q4_k_m)
    python compare_quantisation.py FULL.f32.gguf OURS.q4_k_m.gguf [--text FILE]        (llama-cpp-python 0.3.36, gguf)

The text is the first 50,000 bytes of Python's language reference as the standard library carries it (pydoc_data/topics.py), unless a file is
given. Exit 1 where a type differs, an error is higher, or the perplexity is higher by more than 0.5 %.
"""
import argparse
import ctypes
import os
import sys
import tempfile

import gguf
import llama_cpp
import numpy as np

from llama_quantiser import TEXT, TYPES, kind, perplexity, quantised, roots, sums

parser = argparse.ArgumentParser()
parser.add_argument("full")
parser.add_argument("ours")
parser.add_argument("--text")
parser.add_argument("--threads", type=int, default=os.cpu_count())
parser.add_argument("--no-perplexity", action="store_true")
arguments = parser.parse_args()
full, ours = gguf.GGUFReader(arguments.full), gguf.GGUFReader(arguments.ours)
failures = []

theirs_path = tempfile.mktemp(suffix=".gguf", dir=os.path.dirname(os.path.abspath(arguments.ours)))
settings = llama_cpp.llama_model_quantize_default_params()
settings.ftype, settings.nthread = int(ours.fields["general.file_type"].contents()), arguments.threads
if llama_cpp.llama_model_quantize(arguments.full.encode(), theirs_path.encode(), ctypes.byref(settings)):
    sys.exit("llama.cpp did not quantise the file")
theirs = {t.name: t for t in gguf.GGUFReader(theirs_path).tensors}
plain = {t.name: t for t in full.tensors}
names = {int(kind(name)): name for name in TYPES}

print(f"{'tensor':32} {'type':6} {'weighted':>10} {'llama.cpp':>10} {'ratio':>7}   {'plain':>10} {'llama.cpp':>10} {'ratio':>7}")
total = {}
for tensor in ours.tensors:
    other = theirs[tensor.name]
    if tensor.tensor_type != other.tensor_type:
        failures.append(f"{tensor.name}: {tensor.tensor_type.name}, llama.cpp {other.tensor_type.name}")
    name = names.get(int(tensor.tensor_type))
    if name is None:
        continue
    found = np.zeros((2, 4))
    rows = max(1, (1 << 22) // int(tensor.shape[0]))
    values = plain[tensor.name].data
    for first in range(0, len(values), rows):
        part = values[first : first + rows].astype(np.float32)
        for i, data in enumerate([tensor.data, None]):
            expanded = quantised(part, name) if data is None else gguf.dequantize(data[first : first + rows], tensor.tensor_type)
            found[i] += sums(part, expanded, name)
    total[name] = total.get(name, 0) + found
    (a, c), (b, d) = roots(found[0]), roots(found[1])
    higher = a > b * (1 + 1e-6) or c > d * (1 + 1e-6)
    if higher:
        failures.append(f"{tensor.name}: error {a:.3e} ({c:.3e} plain), llama.cpp {b:.3e} ({d:.3e})")
    if higher or tensor.name.startswith(("blk.0.", "token_embd", "output")):
        print(f"{tensor.name:32} {name:6} {a:10.3e} {b:10.3e} {a / b if b else 1:7.4f}   {c:10.3e} {d:10.3e} {c / d if d else 1:7.4f}")
for name, found in total.items():
    (a, c), (b, d) = roots(found[0]), roots(found[1])
    print(f"{'all of ' + name:39} {a:10.3e} {b:10.3e} {a / b if b else 1:7.4f}   {c:10.3e} {d:10.3e} {c / d if d else 1:7.4f}")

if not arguments.no_perplexity:
    text = open(arguments.text, "rb").read()[:50_000] if arguments.text else TEXT
    (reference, count), (a, _), (b, _) = (perplexity(path, text, arguments.threads) for path in (arguments.full, arguments.ours, theirs_path))
    print(f"perplexity of {len(text)} bytes ({count} tokens counted): f32 {reference:.4f}, ours {a:.4f}, llama.cpp's {b:.4f}, ratio {a / b:.5f}")
    print(f"loss: ours {np.log(a / reference):+.4f}, llama.cpp's {np.log(b / reference):+.4f}")
    if a > 1.005 * b:
        failures.append(f"perplexity {a:.4f}, llama.cpp {b:.4f}")
os.remove(theirs_path)
print(*failures or ["types equal, no error higher"], sep="\n")
sys.exit(1 if failures else 0)
