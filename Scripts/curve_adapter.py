#!/usr/bin/env python3
"""The starting adapter of the reference curve (Tests/Reference/smollm2/demo_curve.json), as a PEFT folder.

    python3 Scripts/curve_adapter.py OUTPUT

A[i,j] of module number m (layers in order, q before v) = 0.02 * sin(1 + i + 8*j + 31*m), B = 0; rank 8 on q_proj, v_proj of
SmolLM2-135M. Standard library only.
"""
import json, math, os, struct, sys

out = sys.argv[1]
os.makedirs(out, exist_ok=True)
rank, hidden, layers, rows = 8, 576, 30, {"q_proj": 576, "v_proj": 192}
header, data, module = {}, [], 0
offset = 0
for layer in range(layers):
    for name in ("q_proj", "v_proj"):
        a = [0.02 * math.sin(1 + i + 8 * j + 31 * module) for i in range(rank) for j in range(hidden)]
        b = [0.0] * (rows[name] * rank)
        for part, shape, values in (("lora_A", [rank, hidden], a), ("lora_B", [rows[name], rank], b)):
            key = f"base_model.model.model.layers.{layer}.self_attn.{name}.{part}.weight"
            header[key] = {"dtype": "F32", "shape": shape, "data_offsets": [offset, offset + 4 * len(values)]}
            offset += 4 * len(values)
            data.append(struct.pack(f"<{len(values)}f", *values))
        module += 1
text = json.dumps(header).encode()
text += b" " * (-len(text) % 8)
with open(os.path.join(out, "adapter_model.safetensors"), "wb") as f:
    f.write(struct.pack("<Q", len(text)) + text + b"".join(data))
with open(os.path.join(out, "adapter_config.json"), "w") as f:
    json.dump({"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": rank, "lora_alpha": 16, "lora_dropout": 0.0, "bias": "none",
               "target_modules": ["q_proj", "v_proj"]}, f, indent=1)
