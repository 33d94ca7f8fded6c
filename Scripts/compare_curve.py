#!/usr/bin/env python3
"""A run's losses against the reference curve of the Hugging Face stack.

    python3 Scripts/compare_curve.py RUN_DIRECTORY Tests/Reference/smollm2/demo_curve.json

Learning rates equal, the first 10 losses within 1e-3 relative, all within 3 %, validation loss within 0.02. Exit 1 if not.
"""
import json, sys

run, reference = sys.argv[1], json.load(open(sys.argv[2]))
steps = [e for e in map(json.loads, open(run + "/events.jsonl")) if e["event"] == "step"]
loss = [e["loss"] for e in steps]
rate = [e["learning_rate"] for e in steps]
norm = [e["grad_norm"] for e in steps]
relative = [abs(a / b - 1) for a, b in zip(loss, reference["loss"])]
rates = max(abs(a - b) for a, b in zip(rate, reference["learning_rate"]))
after = json.load(open(run + "/summary.json"))["validation_loss_after"]
checks = [
    (len(loss) == reference["steps"], f"{len(loss)} steps of {reference['steps']}"),
    (rates <= 1e-12, f"learning rates differ by at most {rates:.1e} (1e-12: float64 rounding)"),
    (max(relative[:10]) <= 1e-3, f"first 10 losses: largest relative difference {max(relative[:10]):.2e} (1e-3)"),
    (max(relative) <= 0.03, f"all losses: largest relative difference {max(relative):.2e} (0.03)"),
    (abs(after - reference["validation_loss_after"]) <= 0.02,
     f"validation loss {after:.4f}, reference {reference['validation_loss_after']:.4f} (0.02)"),
]
print(f"first gradient norms: ours {norm[0]:.6f} {norm[1]:.6f}, reference {reference['grad_norm'][0]:.6f} {reference['grad_norm'][1]:.6f}")
for good, text in checks:
    print("pass " if good else "FAIL ", text)
sys.exit(0 if all(good for good, _ in checks) else 1)
