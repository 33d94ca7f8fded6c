"""A `bnb-4bit` export of ours loaded by transformers with bitsandbytes, on a processor: every linear but the head is 4-bit, its weights are
those that its codes and maxima say, bit for bit, and it generates.

    python check_bnb_4bit.py FOLDER        (torch, transformers, bitsandbytes, accelerate)
"""
import json
import sys
from glob import glob

import bitsandbytes
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

folder = sys.argv[1]
tensors = {}
for path in glob(folder + "/*.safetensors"):
    tensors.update(load_file(path))
model = AutoModelForCausalLM.from_pretrained(folder, device_map="cpu")


def expanded(name):
    """map[code] · (nested map[maximum] · nested maximum + offset), rounded to the state's type."""
    state = json.loads(bytes(tensors[name + ".quant_state.bitsandbytes__nf4"].tolist()).decode())
    codes = tensors[name].flatten()
    codes = torch.stack([codes >> 4, codes & 15], 1).flatten().long()
    maxima = tensors[name + ".nested_quant_map"][tensors[name + ".absmax"].long()]
    nested = tensors[name + ".nested_absmax"].repeat_interleave(state["nested_blocksize"])[: len(maxima)]
    scales = (maxima * nested + torch.tensor(state["nested_offset"], dtype=torch.float32)).repeat_interleave(state["blocksize"])
    values = tensors[name + ".quant_map"][codes] * scales[: len(codes)]
    return values.to(getattr(torch, state["dtype"])).reshape(state["shape"])


count = 0
for name, module in model.named_modules():
    if isinstance(module, torch.nn.Linear) and name != "lm_head":
        if not isinstance(module, bitsandbytes.nn.Linear4bit):
            sys.exit(f"{name} is a {type(module).__name__}")
        weight = module.weight
        found = bitsandbytes.functional.dequantize_4bit(weight.data, weight.quant_state)
        difference = (found.float() - expanded(name + ".weight").float()).abs().max().item()
        if difference:
            sys.exit(f"{name}: bitsandbytes' weights differ from ours by up to {difference}")
        count += 1
if count == 0:
    sys.exit("no linear is 4-bit")
ids = torch.tensor([[1, 2, 3, 4]])
logits = model(ids).logits
if not torch.isfinite(logits).all():
    sys.exit("the logits are not finite")
print(f"{count} linears equal; greedy from 1 2 3 4:", model.generate(ids, max_new_tokens=8, do_sample=False)[0].tolist())
