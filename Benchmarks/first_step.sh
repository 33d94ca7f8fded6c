#!/usr/bin/env bash
# The time to a run's first step with an empty cache, with the compiled kernels of the wheel and without them, on a card.
#   Benchmarks/first_step.sh FOLDER      FOLDER: holds `lorikeet` and `kernels/` (.work/static of `make wheel`, or the unpacked GPU bundle)
# Every row is a process of its own with new XDG_CACHE_HOME and CUDA_CACHE_PATH; three rounds, alternating. Each row's median is printed: first_step_seconds, from the
# start of the process until the first training step is done, and before_first_step_seconds, which includes the weights' making.
#   own code    the card's own machine code: from the archive, or compiled by NVRTC
#   7.5 code    a T4's code on a newer card: always compiled, by NVRTC and then by the driver (a T4 itself takes it from the archive)
set -euo pipefail
folder=$(cd "$1" && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mkdir "$scratch/bare"
cp "$folder/lorikeet" "$scratch/bare/"
"$folder/lorikeet" doctor --device cuda:0 | grep -E '^(gpu|compiled_kernels|threads|cpu)'
"$scratch/bare/lorikeet" doctor --device cuda:0 | grep -E '^gpu_(kernels|libraries)'
for round in 1 2 3; do
    for row in "with:own:$folder:" "without:own:$scratch/bare:" "without:7.5:$scratch/bare:--gpu-arch 75 --compute-type float16"; do
        IFS=: read -r archive code program options <<< "$row"
        for shape in llama-7b smollm2-135m; do
            cache=$(mktemp -d "$scratch/cache.XXXXXX")
            # shellcheck disable=SC2086
            XDG_CACHE_HOME=$cache CUDA_CACHE_PATH=$cache/driver "$program/lorikeet" bench --device cuda:0 --shape $shape --gpu-memory 15GiB --rounds 1 --json $options \
                > "$scratch/$shape-$code-$archive-$round.json"
        done
    done
done
python3 - "$scratch" << 'PYTHON'
import glob, json, os, statistics, sys
rows = {}
for path in sorted(glob.glob(sys.argv[1] + "/*.json")):
    shape, code, archive, _ = os.path.basename(path)[:-5].rsplit("-", 3)
    rows.setdefault((shape, code, archive), []).append(json.load(open(path)))
for (shape, code, archive), runs in rows.items():
    first, before = ([run[name] for run in runs] for name in ("first_step_seconds", "before_first_step_seconds"))
    print("%-14s %s code, %-7s archive: first step after %.2f s (%s), of which before it %.2f s" % (
        shape, code, archive, statistics.median(first), ", ".join("%.2f" % value for value in first), statistics.median(before)))
PYTHON
