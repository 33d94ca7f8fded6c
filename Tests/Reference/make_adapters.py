"""Adapters with PEFT's less common settings on the tiny Llama of this folder, and what PEFT makes of them: adapters/CASE/ with
adapter_config.json, adapter_model.safetensors and expected.safetensors, which holds row 1 of every matrix that merge_and_unload changed.

    python make_adapters.py        (torch, transformers, peft)
"""
import json
import os

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import LlamaForCausalLM

here = os.path.dirname(os.path.abspath(__file__))
cases = {
    "patterns": dict(
        r=4, lora_alpha=6, use_rslora=True, target_modules=["q_proj", "v_proj", "up_proj"],
        rank_pattern={"self_attn.q_proj": 8, "layers.1.self_attn.v_proj": 2, "^model.layers.2.mlp.up_proj": 3},
        alpha_pattern={r"layers\.[02]\..*": 5, "q_proj": 16, "v_proj": 1}),
    "layers": dict(r=2, lora_alpha=3, target_modules=["q_proj", "down_proj"], layers_to_transform=[0, 2], layers_pattern="layers"),
    "expression": dict(target_modules=r"model\.layers\.\d+\.(self_attn|mlp)\.(k|gate)_proj", exclude_modules=r".*\.1\..*"),
}
for case, settings in cases.items():
    torch.manual_seed(7)
    model = LlamaForCausalLM.from_pretrained(here + "/llama", dtype=torch.float32)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    peft = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **settings))
    with torch.no_grad():
        for name, tensor in peft.named_parameters():
            if ".lora_" in name:
                tensor.copy_(torch.randn(tensor.shape) * 0.2)
    folder = f"{here}/adapters/{case}"
    os.makedirs(folder, exist_ok=True)
    peft.save_pretrained(folder)
    path = folder + "/adapter_config.json"
    config = json.load(open(path))
    config["base_model_name_or_path"] = "llama"
    if case == "expression":
        # Absent keys have PEFT's defaults (r 8, lora_alpha 8), and names are as they are while the adapter is in memory.
        del config["r"], config["lora_alpha"]
        weights = folder + "/adapter_model.safetensors"
        tensors = {n.replace(".weight", ".default.weight"): t for n, t in load_file(weights).items()}
        save_file(tensors, weights, metadata={"format": "pt"})
    json.dump(config, open(path, "w"), indent=2)
    model = LlamaForCausalLM.from_pretrained(here + "/llama", dtype=torch.float32)
    if case == "expression":
        merged = peft.merge_and_unload().state_dict()
    else:
        merged = PeftModel.from_pretrained(model, folder).merge_and_unload().state_dict()
    changed = {n: t[1].clone().contiguous() for n, t in merged.items() if not torch.equal(t, before[n])}
    save_file(changed, folder + "/expected.safetensors")
    os.remove(folder + "/README.md")
    print(case, len(changed), os.path.getsize(folder + "/adapter_model.safetensors"))
