"""A quantised GGUF file of ours beside llama.cpp's quantisation of the same model: the types and errors of all tensors, and perplexities.

    lorikeet export … (f32 and, for instance, q4_k_m)
    python compare_quantisation.py FULL.f32.gguf OURS.q4_k_m.gguf [--text FILE]        (llama-cpp-python 0.3.36, gguf)

The text is the first 50,000 bytes of Python's language reference as the standard library carries it (pydoc_data/topics.py), unless a file is
given. Exit 1 where a type differs, an error is higher, or the perplexity is higher by more than 0.5 %.
"""
import argparse
import os
import sys
import tempfile

import gguf
import numpy as np

from llama_quantiser import TEXT, is_higher, perplexity, quantise_file, roots, tensor_errors

parser = argparse.ArgumentParser()
parser.add_argument("full")
parser.add_argument("ours")
parser.add_argument("--text")
parser.add_argument("--threads", type=int, default=os.cpu_count())
parser.add_argument("--no-perplexity", action="store_true")
arguments = parser.parse_args()
failures, total = [], {}
form = int(gguf.GGUFReader(arguments.ours).fields["general.file_type"].contents())
theirs = tempfile.mktemp(suffix=".gguf", dir=os.path.dirname(os.path.abspath(arguments.ours)))
quantise_file(arguments.full, theirs, form, arguments.threads)

print(f"{'tensor':32} {'type':6} {'weighted':>10} {'llama.cpp':>10} {'ratio':>7}   {'plain':>10} {'llama.cpp':>10} {'ratio':>7}")
for name, our_type, their_type, found in tensor_errors(arguments.full, arguments.ours, theirs):
    if our_type != their_type:
        failures.append(f"{name}: {our_type}, llama.cpp {their_type}")
    if found is None:
        continue
    total[our_type] = total.get(our_type, 0) + found
    (a, c), (b, d) = roots(found[0]), roots(found[1])
    if is_higher(found):
        failures.append(f"{name}: error {a:.3e} ({c:.3e} plain), llama.cpp {b:.3e} ({d:.3e})")
    if is_higher(found) or name.startswith(("blk.0.", "token_embd", "output")):
        print(f"{name:32} {our_type:6} {a:10.3e} {b:10.3e} {a / b if b else 1:7.4f}   {c:10.3e} {d:10.3e} {c / d if d else 1:7.4f}")
for name, found in total.items():
    (a, c), (b, d) = roots(found[0]), roots(found[1])
    print(f"{'all of ' + name:39} {a:10.3e} {b:10.3e} {a / b if b else 1:7.4f}   {c:10.3e} {d:10.3e} {c / d if d else 1:7.4f}")

if not arguments.no_perplexity:
    text = open(arguments.text, "rb").read()[:50_000] if arguments.text else TEXT
    (reference, count), (a, _), (b, _) = (perplexity(path, text, arguments.threads) for path in (arguments.full, arguments.ours, theirs))
    print(f"perplexity of {len(text)} bytes ({count} tokens counted): f32 {reference:.4f}, ours {a:.4f}, llama.cpp's {b:.4f}, ratio {a / b:.5f}")
    print(f"loss: ours {np.log(a / reference):+.4f}, llama.cpp's {np.log(b / reference):+.4f}")
    if a > 1.005 * b:
        failures.append(f"perplexity {a:.4f}, llama.cpp {b:.4f}")
os.remove(theirs)
print(*failures or ["types equal, no error higher"], sep="\n")
sys.exit(1 if failures else 0)
