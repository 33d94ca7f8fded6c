#!/usr/bin/env python3
"""Scripts/run_notebook.sh's part inside the virtual environment: executes the notebook twice and looks at what came out."""
import argparse
import filecmp
import json
import os
import re
import shutil
import subprocess
import sys
import time

import nbformat
from nbclient import NotebookClient

ROOT = os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))


def tiny_inputs(folder):
    """A Llama of 160 rows with a tokenizer of single characters, and records for it."""
    model = os.path.join(folder, "model")
    os.makedirs(model)
    for name in ("config.json", "generation_config.json", "model.safetensors"):
        shutil.copy(os.path.join(ROOT, "Tests", "Reference", "llama", name), model)
    tokens = ["<pad>", "<s>", "</s>", "\u010a", "\u0120"] + [chr(code) for code in range(33, 127)]
    tokens += ["<unused%d>" % number for number in range(len(tokens), 160)]
    tokenizer = {
        "model": {"type": "BPE", "vocab": {token: number for number, token in enumerate(tokens)}, "merges": []},
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}, "decoder": {"type": "ByteLevel"},
        "added_tokens": [{"id": number, "content": token, "special": True} for number, token in enumerate(tokens[:3])],
    }
    template = "{%- for m in messages -%}{{ m['content'] }}{%- if m['role'] == 'assistant' -%}</s>{%- endif -%}{%- endfor -%}"
    settings = {"bos_token": "<s>", "eos_token": "</s>", "chat_template": template}
    for name, value in (("tokenizer.json", tokenizer), ("tokenizer_config.json", settings)):
        with open(os.path.join(model, name), "w") as file:
            json.dump(value, file)
    records = os.path.join(folder, "records.jsonl")
    with open(records, "w") as file:
        for number in range(400):
            file.write(json.dumps({"prompt": "say %d:" % (number % 97), "completion": "ab" * (10 + number % 40)}) + "\n")
    keys = {
        "max_length": 128, "max_steps": 2000, "per_device_train_batch_size": 32, "gradient_accumulation_steps": 1, "warmup_steps": 5,
        "learning_rate": 1e-3, "eval_steps": 0, "save_steps": 0, "test_samples": 3, "merge_tolerance": 10, "threads": 2, "logging_steps": 100,
    }
    # Long enough that no machine trains it all in the first session, and short enough for a test.
    return dict(MODEL=model, DATA=records, VALIDATION_SHARE=0.1, SESSION="10s", SESSIONS=30, KEYS=keys)


def smollm2_inputs():
    keys = {
        "instruction_role": "system", "max_length": 128, "max_train_samples": 560, "sample": "first", "shuffle": False, "lora_dropout": 0.0,
        "num_train_epochs": 1, "per_device_train_batch_size": 8, "gradient_accumulation_steps": 1, "learning_rate": 2e-3, "warmup_steps": 5,
        "logging_steps": 5, "eval_steps": 35, "eval_samples": 48, "save_steps": 10, "save_total_limit": 2, "test_samples": 24, "threads": 2,
    }
    model = os.path.join(ROOT, ".work", "SmolLM2-135M-Instruct.Q4_1.gguf")
    return dict(MODEL=model, DATA=os.path.join(ROOT, ".work", "kinds"), VALIDATION_SHARE=None, SESSION="120s", SESSIONS=3, KEYS=keys)


def execute(name, scratch, settings):
    """Executes the notebook with other settings in an empty folder; returns what its cells printed."""
    book = nbformat.read(os.path.join(ROOT, "notebooks", "kaggle_free_tier_qlora.ipynb"), 4)
    nbformat.validate(book)
    position = next(number for number, cell in enumerate(book.cells) if "parameters" in cell.metadata.get("tags", []))
    lines = ["%s = %r" % setting for setting in settings.items()]
    book.cells.insert(position + 1, nbformat.v4.new_code_cell("\n".join(lines)))
    folder = os.path.join(scratch, name)
    os.makedirs(folder)
    begun = time.monotonic()
    try:
        NotebookClient(book, timeout=3600, kernel_name="python3", resources={"metadata": {"path": folder}}).execute()
    finally:
        kept = os.environ.get("KEEP")
        if kept:
            os.makedirs(kept, exist_ok=True)
            nbformat.write(book, os.path.join(kept, name + ".ipynb"))
    print("%s execution: %.0f s" % (name, time.monotonic() - begun))
    return "".join(
        output.get("text", "") for cell in book.cells if cell.cell_type == "code" for output in cell.outputs if output.output_type == "stream")


def check(condition, what):
    print("%s  %s" % ("pass" if condition else "FAIL", what))
    if not condition:
        sys.exit(1)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("scratch")
    parser.add_argument("--smollm2", action="store_true")
    options = parser.parse_args()
    scratch = options.scratch
    settings = smollm2_inputs() if options.smollm2 else tiny_inputs(scratch)
    settings.update(WHEEL=os.path.join(scratch, "wheel"), DEVICE="cpu")
    first, second, undisturbed = (os.path.join(scratch, name, "out") for name in ("first", "second", "undisturbed"))

    text = execute("first", scratch, dict(settings, OUTPUT=first, RESUME_FROM=None))
    check("everything is saved" in text and "What to do next" in text, "the first execution ends early and says what to do next")
    steps = max(int(name[5:]) for name in os.listdir(os.path.join(first, "checkpoints")) if re.fullmatch(r"step-\d+", name))
    check(steps > 0 and not os.path.exists(os.path.join(first, "merged")), "a checkpoint is kept (step %d)" % steps)

    # The next session's folder is empty, and the earlier output an input that is only read.
    text = execute("second", scratch, dict(settings, OUTPUT=second, RESUME_FROM=os.path.dirname(first), SESSION=None, SESSIONS=1))
    check("going on from %s" % first in text, "the second execution goes on from the first one's output")
    line = json.loads(text.strip().split("\n")[-1])
    check(line["exit_status"] == 0 and line["steps"] == line["planned_steps"] > steps, "it ends with all %d steps" % line["steps"])
    check(all(line["proofs"].values()), "all proofs pass")
    check(line["lorikeet"] and line["tokens_per_second"] > 0 and line["predicted_ram_bytes"] > 0, "the last cell prints one line of JSON")
    print(json.dumps(line))

    import lorikeet_qlora  # installed by the notebook

    keys = dict(settings["KEYS"], model=settings["MODEL"], data=settings["DATA"], validation_share=settings["VALIDATION_SHARE"], device="cpu", output=undisturbed)
    command = [lorikeet_qlora.binary(), "train"]
    command += ["--%s=%s" % (key.replace("_", "-"), str(value).lower() if isinstance(value, bool) else value) for key, value in keys.items() if value is not None]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    adapters = [os.path.join(folder, "adapter", "adapter_model.safetensors") for folder in (second, undisturbed)]
    check(filecmp.cmp(*adapters, shallow=False), "the adapter has the bits of an undisturbed run")


if __name__ == "__main__":
    main()
