"""Tiny Llamas in the quantised forms that people have as bases, and their expanded weights: quantised/CASE/ with config.json,
model.safetensors and expected.safetensors, which holds row 1 of every quantised matrix as the reference libraries expand it.

    python make_quantised.py        (torch, transformers, bitsandbytes, accelerate)
"""
import json
import os

import bitsandbytes.functional as bnb
import torch
from safetensors.torch import load_file, save_file
from transformers import BitsAndBytesConfig, LlamaConfig, LlamaForCausalLM

# Rows are whole blocks: on a processor, bitsandbytes 0.50 expands the blocks of other matrices as if each row began one, which is not how it
# (and its CUDA code) quantises them.
here = os.path.dirname(os.path.abspath(__file__)) + "/quantised"
config = LlamaConfig(
    vocab_size=40, hidden_size=64, intermediate_size=128, num_hidden_layers=1, num_attention_heads=4, num_key_value_heads=2, head_dim=16,
    max_position_embeddings=64, tie_word_embeddings=True, bos_token_id=1, eos_token_id=2, pad_token_id=0)
torch.manual_seed(3)
plain = LlamaForCausalLM(config).to(torch.float32)
with torch.no_grad():
    for tensor in plain.parameters():
        if tensor.dim() == 2:
            tensor.copy_(torch.randn(tensor.shape) * 0.15)
plain.save_pretrained("/tmp/plain-llama")
linears = [n for n in load_file("/tmp/plain-llama/model.safetensors") if n.endswith("_proj.weight")]


def finish(case, expected):
    folder = f"{here}/{case}"
    for name in os.listdir(folder):
        if name not in ("config.json", "model.safetensors"):
            os.remove(f"{folder}/{name}")
    save_file({n: t[1].float().clone().contiguous() for n, t in expected.items()}, folder + "/expected.safetensors")
    print(case, os.path.getsize(folder + "/model.safetensors"))


for case, double, dtype, block in [("nf4_double", True, torch.bfloat16, 64), ("nf4_plain", False, torch.float32, 64), ("nf4_half", True, torch.float16, 64)]:
    settings = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=double, bnb_4bit_compute_dtype=dtype)
    model = LlamaForCausalLM.from_pretrained("/tmp/plain-llama", quantization_config=settings, dtype=dtype, device_map="cpu")
    model.save_pretrained(f"{here}/{case}")
    expected = {n + ".weight": bnb.dequantize_4bit(m.weight.data, m.weight.quant_state) for n, m in model.named_modules() if n.endswith("_proj")}
    finish(case, expected)

# Other blocks than the usual ones, made by bitsandbytes and named as its Params4bit names them.
tensors = load_file("/tmp/plain-llama/model.safetensors")
expected, written = {}, {}
for name, tensor in tensors.items():
    if name not in linears:
        written[name] = tensor
        continue
    codes, state = bnb.quantize_4bit(tensor, blocksize=128, quant_type="nf4", compress_statistics=True)
    expected[name] = bnb.dequantize_4bit(codes, state)
    written[name] = codes
    for key, value in state.as_dict(packed=True).items():
        written[f"{name}.{key}"] = value
os.makedirs(here + "/nf4_blocks", exist_ok=True)
save_file(written, here + "/nf4_blocks/model.safetensors", metadata={"format": "pt"})
json.dump(json.load(open(here + "/nf4_double/config.json")), open(here + "/nf4_blocks/config.json", "w"), indent=2)
finish("nf4_blocks", expected)


def float8(case, quantisation, blocks, ending, dtype=torch.float8_e4m3fn, largest=448.0):
    expected, written = {}, {}
    for name, tensor in tensors.items():
        if name not in linears:
            written[name] = tensor.to(torch.bfloat16)
            continue
        rows, columns = tensor.shape
        r, c = blocks(rows, columns)
        wide = torch.zeros(-(-rows // r) * r, -(-columns // c) * c)
        wide[:rows, :columns] = tensor
        tiles = wide.reshape(wide.shape[0] // r, r, wide.shape[1] // c, c)
        scale = tiles.abs().amax(dim=(1, 3)) / largest
        full = scale.repeat_interleave(r, 0).repeat_interleave(c, 1)[:rows, :columns]
        codes = (tensor / full).to(dtype)
        written[name] = codes
        if r >= rows and c >= columns:
            scale = scale.reshape(1)
        written[name + ending] = scale
        expected[name] = codes.float() * full
    written["model.layers.0.self_attn.q_proj.input_scale"] = torch.ones(1)
    os.makedirs(f"{here}/{case}", exist_ok=True)
    save_file(written, f"{here}/{case}/model.safetensors", metadata={"format": "pt"})
    settings = json.load(open("/tmp/plain-llama/config.json"))
    settings["quantization_config"] = quantisation
    json.dump(settings, open(f"{here}/{case}/config.json", "w"), indent=2)
    finish(case, expected)


float8("fp8_blocks", {"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic", "weight_block_size": [32, 48]},
       lambda r, c: (32, 48), "_scale_inv")
channel = {"quant_method": "compressed-tensors", "format": "float-quantized", "config_groups": {"group_0": {"weights": {
    "num_bits": 8, "strategy": "channel", "type": "float", "symmetric": True}, "targets": ["Linear"]}}}
float8("fp8_rows", channel, lambda r, c: (1, c), "_scale")
float8("fp8_tensor", {"quant_method": "fp8", "activation_scheme": "static"}, lambda r, c: (r, c), "_scale", torch.float8_e5m2, 57344.0)
