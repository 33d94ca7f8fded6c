"""How far rounding moves the gradients of adapters (q, k, v, o; r 8; B not zero) in the Hugging Face stack: the figures behind the limits of
`doctor --reference FOLDER --model GGUF` on a card (Sources/Checks/CardGradientCheck.swift).

    pip install torch transformers peft gguf
    python measure_gradients.py MODEL.gguf FOLDER/expected.json

Prints relative L2 between float32 and float64 and 1 - cosine between bfloat16 (autocast) and float32, each for the worst matrices and for all
as one vector. Texts stand behind the beginning-of-sequence token where the folder gives `loss_with_bos`.
"""
import json, os, sys, torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

path, expected = sys.argv[1:3]
folder, name = os.path.split(path)
texts = json.load(open(expected))["texts"]


def gradients(dtype):
    model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.float32, attn_implementation="eager")
    first = [model.config.bos_token_id] if any("loss_with_bos" in t for t in texts) else []
    ids = [i for i in (first + t["ids"] for t in texts) if len(i) > 1]
    torch.manual_seed(1)
    model = get_peft_model(model, LoraConfig(r=8, lora_alpha=16, target_modules=["q_proj", "k_proj", "v_proj", "o_proj"])).eval()
    for n, p in model.named_parameters():
        if "lora_B" in n: p.data = 0.02 * (torch.rand(p.shape) * 2 - 1)
        if dtype == torch.float64 or "lora_" not in n: p.data = p.data.to(dtype)
    count = sum(len(i) - 1 for i in ids)
    for i in ids:
        t = torch.tensor([i])
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
            logits = model(input_ids=t).logits[0, :-1]
        if dtype == torch.bfloat16: logits = logits.float()
        (torch.nn.functional.cross_entropy(logits, t[0, 1:], reduction="sum") / count).backward()
    return {n: p.grad.double().flatten() for n, p in model.named_parameters() if p.grad is not None}


def show(title, measure, a, b):
    worst = sorted(((measure(a[n], b[n]), n) for n in a), reverse=True)
    print(f"{title}: all {measure(torch.cat([*a.values()]), torch.cat([b[n] for n in a])):.2e}")
    for value, n in worst[:5]: print(f"    {value:.2e}  {n.replace('base_model.model.model.', '')}")


single = gradients(torch.float32)
show("float32 and float64, relative L2", lambda a, b: ((a - b).norm() / a.norm()).item(), gradients(torch.float64), single)
show("bfloat16 and float32, 1 - cosine", lambda a, b: 1 - (a @ b / (a.norm() * b.norm())).item(), single, gradients(torch.bfloat16))
