"""The tiny reference model as a folder of Hugging Face's, for tests in Python."""
import json
import os
import shutil

REFERENCE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "Tests", "Reference", "llama")


def tiny_model(folder):
    """Writes a Llama of 160 rows with a tokenizer of single characters."""
    os.makedirs(folder)
    for name in ("config.json", "generation_config.json", "model.safetensors"):
        shutil.copy(os.path.join(REFERENCE, name), folder)
    tokens = ["<pad>", "<s>", "</s>", "\u010a", "\u0120"] + [chr(code) for code in range(33, 127)]
    tokens += ["<unused%d>" % number for number in range(len(tokens), 160)]
    tokenizer = {
        "model": {"type": "BPE", "vocab": {token: number for number, token in enumerate(tokens)}, "merges": []},
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True},
        "decoder": {"type": "ByteLevel"},
        "added_tokens": [{"id": number, "content": token, "special": True} for number, token in enumerate(tokens[:3])],
    }
    template = "{%- for m in messages -%}{{ m['content'] }}{%- if m['role'] == 'assistant' -%}</s>{%- endif -%}{%- endfor -%}"
    settings = {"bos_token": "<s>", "eos_token": "</s>", "chat_template": template}
    for name, value in (("tokenizer.json", tokenizer), ("tokenizer_config.json", settings)):
        with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
            json.dump(value, file)
