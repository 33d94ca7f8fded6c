#!/usr/bin/env python3
"""Scripts/run_notebook.sh's part inside the virtual environment: executes the notebook twice and looks at what came out."""
import argparse
import filecmp
import json
import os
import re
import subprocess
import sys
import time

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from tiny_model import tiny_model

ROOT = os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))


def tiny_inputs(folder):
    """A tiny model and records for it."""
    model = os.path.join(folder, "model")
    tiny_model(model)
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
    # Longer than a session's training where the machine is idle, and with a test that fits into one where it is busy.
    keys = {
        "instruction_role": "system", "max_length": 128, "max_train_samples": 560, "sample": "first", "shuffle": False, "lora_dropout": 0.0,
        "max_validation_samples": 48, "num_train_epochs": 1.5, "per_device_train_batch_size": 8, "gradient_accumulation_steps": 1, "learning_rate": 2e-3, "warmup_steps": 5,
        "logging_steps": 5, "eval_steps": 35, "eval_samples": 48, "save_steps": 10, "save_total_limit": 2, "test_samples": 8, "threads": 2,
    }
    model = os.path.join(ROOT, ".work", "SmolLM2-135M-Instruct.Q4_1.gguf")
    return dict(MODEL=model, DATA=os.path.join(ROOT, ".work", "kinds"), VALIDATION_SHARE=None, SESSION="120s", SESSIONS=30, KEYS=keys)


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

    try:
        execute("refused", scratch, dict(settings, OUTPUT=first, RESUME_FROM=None, KEYS=dict(settings["KEYS"], session="9h")))
        refusal = ""
    except CellExecutionError as error:
        refusal = str(error)
    check("KEYS has 'session', which is a setting of its own: set SESSION instead" in refusal, "a key that is a setting of its own is refused by name")
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
    subprocess.run(lorikeet_qlora.command("train", **keys), check=True, stdout=subprocess.DEVNULL)
    adapters = [os.path.join(folder, "adapter", "adapter_model.safetensors") for folder in (second, undisturbed)]
    check(filecmp.cmp(*adapters, shallow=False), "the adapter has the bits of an undisturbed run")


if __name__ == "__main__":
    main()
