#!/usr/bin/env bash
# The card's table of docs/benchmarks.md: a `bench` run a row, JSON into a folder, a line a row on the screen, with the profile of some.
#   Benchmarks/card.sh LORIKEET FOLDER [ROW...]      ROW: one of the names below; all without any
set -u
lorikeet=$1 out=$2
shift 2
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$out"
wanted=("$@")
row() { # row NAME OPTIONS...
    local name=$1
    shift
    if [ ${#wanted[@]} -gt 0 ] && [[ " ${wanted[*]} " != *" $name "* ]]; then return; fi
    if ! "$lorikeet" bench --device cuda:0 --json "$@" > "$out/$name.json" 2> "$out/$name.err"; then
        echo "$name: $(tail -c 400 "$out/$name.err")"
        return
    fi
    python3 - "$out/$name.json" "$name" <<'PY'
import json, sys
r = json.load(open(sys.argv[1]))
g = 2.0 ** 30
print("%-16s %9.0f tok/s  %5d tokens %8.3f ms (predicted %8.3f)  share %.3f  of %3.0f TFLOP/s  %s %s  device %.3f predicted %.3f GiB  first step %.2f s (before it %.2f)" % (
    sys.argv[2], r["tokens_per_second"], r["tokens"], 1e3 * r["step_seconds"], 1e3 * r["predicted_step_seconds"], r["share_of_gemm_limit"], r["gemm_flops_per_second"] / 1e12,
    r["recompute"], "kept" if r["keeps_expanded"] else "expanding", r["peak_device_bytes"] / g, r["predicted_device_bytes"] / g,
    r["first_step_seconds"], r["before_first_step_seconds"]))
# An op's own limit: its products at the speed of this run's best one and its bytes at 3.0 TB/s, what a copy reaches on an H100.
for op in r.get("profile", []):
    least = 1e9 * op["gflop"] / r["gemm_flops_per_second"] + op["bytes"] / 3.0e12
    print("    %-28s %8.3f ms  %4d times  %3.0f %% of its limit  %s" % (op["op"], 1e3 * op["seconds"], op["count"], 100 * least / op["seconds"], "; ".join(
        "%s %d: %.3f" % (p["name"], p["count"], 1e3 * p["seconds"]) for p in op["parts"][:6])))
PY
}
row 7b-16 --shape llama-7b --gpu-memory 16GiB --profile
row 7b-8 --shape llama-7b --gpu-memory 8.2GiB
row 1b-16 --shape llama-3.2-1b --gpu-memory 16GiB --profile
row 135m-16 --shape smollm2-135m --gpu-memory 16GiB
row 1b-step --shape llama-3.2-1b --seq 136 --tokens 2176 --gpu-memory 16GiB
row 7b-step --shape llama-7b --seq 136 --tokens 2176 --gpu-memory 16GiB
row 1b-lengths --shape llama-3.2-1b --lengths "$here/scale-lengths.txt" --gpu-memory 16GiB --rounds 3
row 7b-75 --shape llama-7b --gpu-arch 75 --gpu-memory 15GiB
row 1b-8192 --shape llama-3.2-1b --seq 8192 --tokens 8192 --gpu-memory 16GiB
row 1b-32768 --shape llama-3.2-1b --seq 32768 --tokens 32768 --gpu-memory 16GiB --rounds 3
row 7b-seven --shape llama-7b --gpu-memory 16GiB --target-modules all-linear
row 1b-seven --shape llama-3.2-1b --gpu-memory 16GiB --target-modules all-linear
row 7b-dropout --shape llama-7b --gpu-memory 16GiB --lora-dropout 0.05
row 1b-dropout --shape llama-3.2-1b --gpu-memory 16GiB --lora-dropout 0.05
row qwen3-8b --shape qwen3-8b --gpu-memory 16GiB
row gemma3-4b --shape gemma3-4b --gpu-memory 16GiB --profile
row qwen2.5-0.5b --shape qwen2.5-0.5b --gpu-memory 16GiB
# What surogate publishes: two segments of 2,048 tokens, rank 16 on every linear, NF4.
row qwen3-8b-2x2048 --shape qwen3-8b --seq 2048 --tokens 4096 --lora-r 16 --target-modules all-linear --profile
