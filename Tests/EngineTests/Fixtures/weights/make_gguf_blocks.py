"""Writes gguf_blocks.safetensors: random blocks of every GGUF format and what the gguf package makes of them.

    pip install gguf safetensors numpy
    python make_gguf_blocks.py

For each format: <format>.blocks uint8 [ROWS, bytes of a row], <format>.values float32 [ROWS, COLUMNS].
For formats that gguf can quantise also <format>.quantised and <format>.quantised_values, from normal random weights.
"""
import numpy as np
from gguf import GGMLQuantizationType as T, GGML_QUANT_SIZES
from gguf.quants import dequantize, quantize
from safetensors.numpy import save_file

ROWS, COLUMNS = 2, 512
# Byte places of the float16 fields: random bits there would give infinities.
HALVES = {"Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "Q2_K": [80, 82], "Q3_K": [108],
          "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208]}
g = np.random.default_rng(3)
out = {}
for name, places in HALVES.items():
    kind = T[name]
    elements, size = GGML_QUANT_SIZES[kind]
    blocks = g.integers(0, 256, (ROWS, COLUMNS // elements, size), dtype=np.uint8)
    for place in places:
        halves = (g.standard_normal(blocks.shape[:2]) * 0.05).astype(np.float16)
        blocks[:, :, place:place + 2] = halves[..., None].view(np.uint8)
    rows = blocks.reshape(ROWS, -1)
    key = name[:2].lower() + name[2:]
    out[key + ".blocks"], out[key + ".values"] = rows, dequantize(rows, kind).astype(np.float32)
    try:
        rows = quantize(g.standard_normal((1, COLUMNS)).astype(np.float32), kind)
        out[key + ".quantised"], out[key + ".quantised_values"] = rows, dequantize(rows, kind).astype(np.float32)
    except NotImplementedError:
        pass
save_file({k: np.ascontiguousarray(v) for k, v in out.items()}, "gguf_blocks.safetensors")
