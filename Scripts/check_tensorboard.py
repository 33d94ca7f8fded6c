#!/usr/bin/env python3
"""Reads a run's TensorBoard files with TensorBoard itself and compares them with events.jsonl.

    python3 -m venv .work/tensorboard && .work/tensorboard/bin/pip install tensorboard
    .work/tensorboard/bin/python Scripts/check_tensorboard.py OUTPUT

Same scalars at the same steps, each step once; the texts; hyper-parameters as run.yaml has them. Exit 1 where something differs.
"""
import json
import math
import struct
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2

TAGS = {"train/loss": "loss", "train/learning_rate": "learning_rate", "train/grad_norm": "grad_norm", "train/epoch": "epoch",
        "train/tokens_per_second": "tokens_per_second", "train/share_of_limit": "share_of_limit", "system/rss_bytes": "rss_bytes"}


def float32(value):
    return struct.unpack("f", struct.pack("f", value))[0]


def main():
    output = sys.argv[1]
    accumulator = EventAccumulator(output + "/tensorboard", size_guidance={"scalars": 0, "tensors": 0})
    accumulator.Reload()
    logs, evaluations, settings = {}, {}, {}
    for line in open(output + "/events.jsonl"):
        event = json.loads(line)
        if event["event"] == "step":
            # Steps after a kill are done again; what is said of them later counts.
            logs = {step: log for step, log in logs.items() if step < event["step"]}
            evaluations = {step: value for step, value in evaluations.items() if step < event["step"]}
        if event["event"] == "log":
            logs[event["step"]] = event
        if event["event"] == "evaluation":
            evaluations[event["step"]] = event["eval_loss"]
    faults = []

    def compare(tag, expected):
        found = [(event.step, event.value) for event in accumulator.Scalars(tag)] if tag in accumulator.Tags()["scalars"] else []
        if found != [(step, float32(value)) for step, value in expected]:
            faults.append(f"{tag}: {found[:4]}... instead of {expected[:4]}...")
        print(f"{tag}: {len(found)} points")

    for tag, key in TAGS.items():
        if any(key in log for log in logs.values()):
            compare(tag, [(step, log[key]) for step, log in sorted(logs.items())])
    compare("eval/loss", sorted(evaluations.items()))
    tensors = accumulator.Tags()["tensors"]
    for tag in ("recipe/text_summary", "first_sample/text_summary"):
        texts = [event.tensor_proto.string_val[0].decode() for event in accumulator.Tensors(tag)] if tag in tensors else []
        if len(texts) != 1 or not texts[0]:
            faults.append(f"{tag}: {len(texts)} texts")
        else:
            print(f"{tag}: {len(texts[0])} characters")
    content = accumulator.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    data = plugin_data_pb2.HParamsPluginData.FromString(content)
    for name, value in data.session_start_info.hparams.items():
        settings[name] = getattr(value, value.WhichOneof("kind"))
    recipe = {line.split(":", 1)[0].strip(): line.split(":", 1)[1].strip() for line in open(output + "/run.yaml") if ":" in line}
    for name in ("seed", "learning_rate", "num_train_epochs"):
        if not math.isclose(float(settings.get(name, "nan")), float(recipe[name])):
            faults.append(f"hyper-parameter {name}: {settings.get(name)} instead of {recipe[name]}")
    print(f"hyper-parameters: {len(settings)}")
    for fault in faults:
        print("FAULT " + fault)
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
