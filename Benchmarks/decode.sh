#!/usr/bin/env bash
# Decoding on a card: tokens a second beside the limit of the bytes that a step reads; JSON into a folder, a line a row on the screen.
#   Benchmarks/decode.sh LORIKEET FOLDER [DEVICE]      DEVICE: cuda:0 unless it is given
set -u
lorikeet=$1 out=$2 device=${3:-cuda:0}
mkdir -p "$out"
row() { # row NAME OPTIONS...
    local name=$1
    shift
    if ! "$lorikeet" bench --decode --device "$device" --json "$@" > "$out/$name.json" 2> "$out/$name.err"; then
        echo "$name: $(tail -c 400 "$out/$name.err")"
        return
    fi
    python3 - "$out/$name.json" "$name" <<'PY'
import json, sys
r = json.load(open(sys.argv[1]))
print("%-18s %8.1f tok/s  %7.3f ms a step  limit %9.1f tok/s  share %.3f  (%.0f MiB a step at %.0f GB/s, %s)  prompts %.0f tok/s  %s %s" % (
    sys.argv[2], r["tokens_per_second"], 1e3 * r["step_seconds"], r["limit_tokens_per_second"], r["share_of_limit"], r["bytes_per_step"] / 2**20,
    r["bandwidth_bytes_per_second"] / 1e9, r["bandwidth_method"], r["prompt_tokens_per_second"], r["device"], r["compute_type"]))
PY
}
for sequences in 1 16; do
    row "1b-nf4-$sequences" --shape llama-3.2-1b --base-storage nf4 --sequences $sequences --prompt 128 --new 128
    row "1b-f16-$sequences" --shape llama-3.2-1b --base-storage f16 --sequences $sequences --prompt 128 --new 128
    row "7b-nf4-$sequences" --shape llama-7b --base-storage nf4 --sequences $sequences --prompt 128 --new 128
done
