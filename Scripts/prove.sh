#!/usr/bin/env bash
# The long evidence: demos, kills at random instants, speed. Prints a line a claim and exits 1 if one fails.
#   make prove                  all of it (about three quarters of an hour on two cores, and 16 minutes of fuzzing behind a build for it)
#   Scripts/prove.sh kills      one part: demos | curve | kills | writes | sessions | speed | tokenizers | disk | processor | hub | fuzz
set -u
cd "$(dirname "$0")/.."
lorikeet=.build/release/lorikeet
work=.work/prove
mkdir -p "$work"
failed=0
claim() { if [ "$2" = 0 ]; then echo "pass  $1"; else echo "FAIL  $1"; failed=1; fi; }
field() { python3 -c 'import json,sys
v=json.load(open(sys.argv[1]))
for k in sys.argv[2].split("."): v=v[k]
print(v)' "$1" "$2"; }
holds() { python3 -c 'import sys; sys.exit(0 if eval(sys.argv[1]) else 1)' "$1"; }

demos() {
    rm -rf "$work/kinds" "$work/shell"
    "$lorikeet" run --config Examples/kinds/run.yaml --output "$work/kinds" > "$work/kinds.log" 2>&1
    claim "the kinds demo ends well" $?
    s="$work/kinds/summary.json"
    holds "$(field $s validation_loss_after) <= 0.30"; claim "kinds: validation loss $(field $s validation_loss_before) -> $(field $s validation_loss_after) (0.30 or less)" $?
    holds "$(field $s answers_right_before) == 0 and $(field $s answers_right_after) >= 0.8"; claim "kinds: right answers $(field $s answers_right_before) -> $(field $s answers_right_after) (0 -> 0.80 or more)" $?
    holds "$(field $s merged_matches_adapter.pass)"; claim "kinds: the merged model is base + adapter" $?
    holds "abs($(field $s peak_rss_bytes) / $(field $s predicted_rss_bytes) - 1) <= 0.05"; claim "kinds: peak RSS $(field $s peak_rss_bytes) within 5 % of the predicted $(field $s predicted_rss_bytes)" $?
    "$lorikeet" run --config Examples/shell/run.yaml --output "$work/shell" > "$work/shell.log" 2>&1
    claim "the shell demo ends well" $?
    s="$work/shell/summary.json"
    holds "$(field $s validation_loss_after) <= 2.40"; claim "shell: validation loss $(field $s validation_loss_before) -> $(field $s validation_loss_after) (2.40 or less)" $?
}

# Kill -9 at a hundred random instants of all steps, on a tiny model: every file of an undisturbed run, bit for bit. And ten on a real model.
kills() {
    python3 Scripts/fire.py kills "$lorikeet" --kills 100 2>&1 | tee "$work/kills.log" | grep -E "^(pass|FAIL|   )"
    [ "${PIPESTATUS[0]}" = 0 ]; claim "a hundred kills of a run on a tiny model" $?
    python3 Scripts/fire.py kills "$lorikeet" --kills 10 --real 2>&1 | tee "$work/kills-real.log" | grep -E "^(pass|FAIL|   )"
    [ "${PIPESTATUS[0]}" = 0 ]; claim "ten kills of a run on SmolLM2" $?
}

# Every change of the disk by a small run of each verb fails once.
writes() {
    python3 Scripts/fire.py writes "$lorikeet" 2>&1 | tee "$work/writes.log" | grep -E "^(pass|FAIL|   )"
    [ "${PIPESTATUS[0]}" = 0 ]; claim "every write that fails is a sentence, and the same command goes on" $?
}

# Two hundred sessions of whole runs on a machine whose time is simulated: its speed changes, its disk is slow, signals come late, the clock jumps.
sessions() {
    make -s test-build > "$work/sessions.log" 2>&1
    LORIKEET_SESSIONS=200 swift test -c release -Xswiftc -enable-testing --explicit-target-dependency-import-check error \
        --scratch-path .build-test --skip-build --filter SimulatedSessionTests >> "$work/sessions.log" 2>&1
    claim "every simulated session ends before its deadline, merged and tested or with everything saved" $?
    grep '^|' "$work/sessions.log" | sed 's/^/      /'
}

speed() {
    for dropout in 0 0.05; do
        "$lorikeet" bench --device cpu --shape smollm2-135m --seq 512 --lora-dropout $dropout --json > "$work/bench-$dropout.json" || claim "bench runs" 1
    done
    plain=$(field "$work/bench-0.json" share_of_gemm_limit)
    dropped=$(field "$work/bench-0.05.json" share_of_gemm_limit)
    holds "$plain >= 0.75"; claim "share of the GEMM limit $plain (0.75 or more)" $?
    holds "$dropped >= 0.97 * $plain"; claim "with dropout 0.05 $dropped (at most 3 % less)" $?
}

# The Hugging Face stack's run, step by step from the same adapter.
curve() {
    rm -rf "$work/curve"
    python3 Scripts/curve_adapter.py .work/curve-adapter
    "$lorikeet" run --config Examples/curve/run.yaml --output "$work/curve" > "$work/curve.log" 2>&1
    claim "the reference run ends well" $?
    python3 Scripts/compare_curve.py "$work/curve" Tests/Reference/smollm2/demo_curve.json
    claim "its losses are the reference's" $?
    "$lorikeet" doctor --reference Tests/Reference/smollm2 --model .work/SmolLM2-135M-Instruct.Q4_1.gguf | tail -n 1
    claim "SmolLM2's token ids, prompts, losses and greedy answers are the reference's" "${PIPESTATUS[0]}"
}

# A full disk in the middle: exit 4, the last checkpoint usable, and the same command ends well with room again.
disk() {
    [ "$(id -u)" = 0 ] || { echo "skip  the full disk needs root to mount a small file system"; return; }
    mkdir -p "$work/small" && mount -t tmpfs -o size=40m tmpfs "$work/small" || { echo "skip  no tmpfs can be mounted here"; return; }
    small="--config Examples/kinds/run.yaml --max-train-samples 80 --test-samples 8 --max-validation-samples 16 --save-steps 2 --lora-r 16"
    # The plan refuses a disk that is too small, so it fills up behind the plan's back.
    ( sleep 6; dd if=/dev/zero of="$work/small/filler" bs=1M count=60 2>/dev/null ) &
    "$lorikeet" train $small --output "$work/small/out" > "$work/disk.log" 2>&1
    status=$?
    wait
    [ $status = 4 ]; claim "a full disk is exit 4 (was $status): $(tail -n 1 "$work/disk.log")" $?
    rm -f "$work/small/filler"
    "$lorikeet" train $small --output "$work/small/out" >> "$work/disk.log" 2>&1
    claim "with room again the same command ends well" $?
    umount "$work/small"
}

# Every family's tokenizer against its library on 10,000 lines: ids, ranges, decoded texts; and speed, both in turn on one core in one run.
tokenizers() {
    python3 -c 'import tokenizers, sentencepiece, django' 2> /dev/null || { echo "skip  the tokenizers need: pip install tokenizers sentencepiece django"; return; }
    python3 Tests/Reference/tokenizers/make_comparison.py "$work/tokenizers" > "$work/tokenizers.log"
    claim "the reference libraries' tokens are made" $?
    make -s test-build >> "$work/tokenizers.log" 2>&1
    LORIKEET_TOKENIZERS="$PWD/$work/tokenizers" taskset -c 0 swift test -c release -Xswiftc -enable-testing --explicit-target-dependency-import-check error \
        --scratch-path .build-test --skip-build --filter ComparisonTests >> "$work/tokenizers.log" 2>&1
    claim "ids, byte ranges and decoded texts are the libraries' on all lines" $?
    while read -r name lines times; do
        case $name in
            expression | behaviours | falcon | bert | clip) least=3 ;;
            sentencepiece* | t5 | xlm-roberta | albert) least=5 ;;
            *) least=20 ;;
        esac
        holds "$times >= $least"; claim "$name: $times times the library's speed on $lines lines ($least or more)" $?
    done < <(sed -n 's/^\([a-z0-9-]*\) *\([0-9]*\) lines, wrong.*): \([0-9.]*\) times;.*/\1 \2 \3/p' "$work/tokenizers.log")
}

# A processor without AVX2 gets a sentence, not an illegal instruction.
processor() {
    command -v qemu-x86_64 > /dev/null || { echo "skip  a processor without AVX2 needs qemu-user to be shown"; return; }
    said=$(qemu-x86_64 -cpu Nehalem "$lorikeet" doctor 2>&1)
    [ $? = 2 ]; claim "without AVX2: $said" $?
}

# The hub's cache and Python's are one, both ways.
hub() {
    python3 -c 'import huggingface_hub' 2> /dev/null || { echo "skip  the hub's cache needs Python's huggingface_hub to be compared (pip install huggingface_hub)"; return; }
    Scripts/hub_with_python.sh "$lorikeet" python3 > "$work/hub.log" 2>&1
    claim "the hub's cache: what lorikeet fetched, Python finds, and the other way" $?
}

# A minute of made-up inputs for every reader of untrusted bytes (the first time the build comes on top).
fuzz() {
    Scripts/fuzz.sh > "$work/fuzz.log" 2> "$work/fuzz-build.log"
    claim "no made-up input crashes, hangs or fills the memory" $?
    sed 's/^/      /' "$work/fuzz.log"
}

for part in ${1:-demos curve kills writes sessions speed tokenizers disk processor hub fuzz}; do $part; done
exit $failed
