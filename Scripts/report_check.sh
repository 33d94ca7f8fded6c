#!/usr/bin/env bash
# The report in a real browser: pages of a real run (Tests/Fixtures/kinds-run), of two runs, and of one whose records try to be markup, made by
# `lorikeet report` and opened in headless Chromium by check_report.py. Installs Debian's chromium where it may.
#
#     Scripts/report_check.sh LORIKEET [--images FOLDER]
#     Scripts/report_check.sh --install      only that
set -euo pipefail
cd "$(dirname "$0")/.."
lorikeet=$1
shift
if ! command -v chromium > /dev/null; then
    line="apt-get install -y --no-install-recommends chromium"
    if [ "$(id -u)" != 0 ]; then
        echo "report-check: chromium is missing; as root, run:  $line" >&2
        exit 2
    fi
    echo "report-check: installing chromium"
    DEBIAN_FRONTEND=noninteractive timeout 300 $line > /dev/null
fi
[ "$lorikeet" != --install ] || exit 0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
run=Tests/Fixtures/kinds-run
cp -r "$run" "$work/kinds"
cp -r "$run" "$work/seed-43"
sed -i 's/^seed: 42$/seed: 43/' "$work/seed-43/run.yaml"
# Records that try to be markup: in the first sample, the answers and the notes.
cp -r "$run" "$work/hostile"
python3 - "$work/hostile" <<'PYTHON'
import json, sys
folder = sys.argv[1]
hostile = "</script><img src=x onerror=\"window.pwned=1\"><script>window.pwned=2</script>'\"&"
def changed(value, key=None):
    if isinstance(value, dict):
        return {name: changed(inner, name) for name, inner in value.items()}
    if isinstance(value, list):
        return [changed(inner, key) for inner in value]
    return hostile if isinstance(value, str) and key not in ("event", "goal") else value
lines = [json.dumps(changed(json.loads(line))) for line in open(folder + "/events.jsonl")]
open(folder + "/events.jsonl", "w").write("\n".join(lines) + "\n")
for name in ("plan.json", "summary.json"):
    json.dump(changed(json.load(open(f"{folder}/{name}"))), open(f"{folder}/{name}", "w"))
open(folder + "/run.yaml", "a").write("# " + hostile + "\n")
PYTHON
"$lorikeet" report "$work/kinds" --output "$work/report.html" > /dev/null
"$lorikeet" report "$work/kinds" "$work/seed-43" --output "$work/compared.html" > /dev/null
"$lorikeet" report "$work/hostile" --output "$work/hostile.html" > /dev/null
python3 Scripts/check_report.py "$work/report.html" --clip 1500 "$@"
python3 Scripts/check_report.py "$work/compared.html" "$work/hostile.html"
