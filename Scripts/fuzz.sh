#!/usr/bin/env bash
# Fuzzing of every reader of untrusted bytes with libFuzzer, which comes with Swift's toolchain. Prints a line a target; exits 1 where an input crashes a
# reader, takes longer than 20 s or 256 MiB more than all before it. Inputs that do are kept in .work/fuzz/findings.
#   Scripts/fuzz.sh                              every target, a minute each
#   Scripts/fuzz.sh --minutes 10 gguf template   these, ten minutes each
#   Scripts/fuzz.sh --runs 1000000 --seed 7      a million inputs each; the same seed and corpus give the same inputs
#   Scripts/fuzz.sh --plain                      without knowledge of which code an input reaches: on the tests' build, where that is there
#   .build-fuzz/release/Fuzz gguf FILE           one input again (.build-test/release/Fuzz after --plain)
set -euo pipefail
cd "$(dirname "$0")/.."
minutes=1 runs=-1 seed=1 plain= targets=()
while [ $# -gt 0 ]; do
    case $1 in
        --minutes) minutes=$2; shift 2 ;;
        --runs) runs=$2; minutes=0; shift 2 ;;
        --seed) seed=$2; shift 2 ;;
        --plain) plain=yes; shift ;;
        -*) echo "fuzz: unknown option $1; --minutes, --runs, --seed and --plain are known" >&2; exit 2 ;;
        *) targets+=("$1"); shift ;;
    esac
done

# Internal names are visible to the targets.
build() { LORIKEET_FUZZ=1 swift build -c release --scratch-path "$1" --product Fuzz -Xswiftc -enable-testing "${@:2}" >&2; }
if [ -n "$plain" ]; then
    build .build-test --explicit-target-dependency-import-check error
    fuzz=.build-test/release/Fuzz
else
    swift=$(swiftc -print-target-info | sed -n 's/.*"runtimeResourcePath": "\(.*\)".*/\1/p')
    library=$(compgen -G "$swift/clang/lib/*/libclang_rt.fuzzer_no_main-$(uname -m).a" | head -1 || true)
    [ -n "$library" ] || { echo "fuzz: Swift's toolchain in $swift has no libFuzzer (libclang_rt.fuzzer_no_main); --plain does without" >&2; exit 2; }
    # In a build folder of its own: all code counts which of its edges an input takes.
    build .build-fuzz -Xswiftc -Xfrontend -Xswiftc -sanitize=fuzzer -Xcc -fsanitize=fuzzer-no-link -Xlinker "$library" -Xlinker -lstdc++ -Xlinker -lm
    fuzz=.build-fuzz/release/Fuzz
fi
work=.work/fuzz
rm -rf "$work/seeds"
python3 Scripts/fuzz_seeds.py "$work/seeds" >&2
mkdir -p "$work/findings"
[ ${#targets[@]} -gt 0 ] || mapfile -t targets < <("$fuzz" --list)

failed=0
for target in "${targets[@]}"; do
    mkdir -p "$work/corpus/$target"
    folders=("$work/corpus/$target" "$work/seeds/$target")
    [ -d "Fuzz/corpus/$target" ] && folders+=("Fuzz/corpus/$target")
    log="$work/$target.log" status=0
    # Swift's own report of a trap would come before libFuzzer has kept the input.
    SWIFT_BACKTRACE=enable=no "$fuzz" "$target" -seed="$seed" -runs="$runs" -max_total_time="$((minutes * 60))" -max_len=32768 -timeout=20 -rss_limit_mb=4096 \
        -print_final_stats=1 -artifact_prefix="$work/findings/$target-" "${folders[@]}" > "$log" 2>&1 || status=$?
    inputs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log" | tail -1)
    rate=$(sed -n 's/^stat::average_exec_per_sec: *//p' "$log" | tail -1)
    if [ $status = 0 ]; then
        echo "pass  $target: $inputs inputs, $rate a second, seed $seed"
    else
        failed=1
        echo "FAIL  $target: $(grep -oE 'Test unit written to .*' "$log" | tail -1); $(grep -E 'ERROR:|SUMMARY|Fatal error|took' "$log" | head -2 | tr '\n' ' ')(${inputs:-?} inputs, seed $seed, $log)"
    fi
done
exit $failed
