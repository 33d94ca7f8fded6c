#!/usr/bin/env bash
# The wheel of `make wheel`, as a user meets it: its tag, its licences, the list of what is linked, pip without an index into a fresh virtual environment, doctor with the
# compiled kernels found, the module's tests, and that packing the same files again gives the same bytes.
#     Scripts/check_wheel.sh [BUILD]      BUILD is what make_wheel.py was given, if anything
set -euo pipefail
cd "$(dirname "$0")/.."
wheel=$(ls .work/lorikeet_qlora-*.whl)
python3 Scripts/wheel_tag.py "$wheel"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
python3 -m venv "$scratch/venv"
"$scratch/venv/bin/pip" install --quiet --disable-pip-version-check --no-index --find-links .work lorikeet_qlora
installed=$("$scratch/venv/bin/pip" freeze --disable-pip-version-check)
[ "$(echo "$installed" | cut -d= -f1 | tr - _)" = lorikeet_qlora ] || { echo "check_wheel: installed beside it: $installed" >&2; exit 1; }
(cd "$scratch" && env -u VIRTUAL_ENV venv/bin/lorikeet doctor)
(cd "$scratch" && env -u VIRTUAL_ENV venv/bin/lorikeet doctor --json) | python3 -c '
import json, sys
found = json.load(sys.stdin)["compiled_kernels"]
assert found and found["architectures"] == [75, 80, 86, 89, 90] and not found["not_used"], found
'
(cd "$scratch" && venv/bin/python -m lorikeet_qlora --version)
"$scratch/venv/bin/python" -B -m unittest discover -s packaging/python
python3 - "$wheel" "$scratch/again.whl" "${1:-.build-static}" << 'PYTHON'
import json, sys, zipfile
sys.path.insert(0, "Scripts")
import make_wheel
first, again, build = sys.argv[1:]
with zipfile.ZipFile(first) as wheel:
    files = {e.filename: (wheel.read(e), e.external_attr >> 16 == 0o100755) for e in wheel.infolist() if not e.filename.endswith("/RECORD")}
make_wheel.pack(files, again)
same = open(first, "rb").read() == open(again, "rb").read()
licences = sorted(name.split("/")[-1] for name in files if "/licenses/" in name)
assert len(licences) == len(make_wheel.LICENCES), licences
# What is linked, with versions: as many components as licences beside our own, each with a version, and the list of this build.
linked = next(data for name, (data, _) in files.items() if name.endswith(".dist-info/sboms/lorikeet.cdx.json"))
parts = json.loads(linked)["components"]
assert [part["name"] for part in parts if part["version"] and part["purl"]] == [name for name, _ in make_wheel.LICENCES[1:]], parts
version = json.loads(linked)["metadata"]["component"]["version"]
assert linked.decode() == make_wheel.sbom.text(build, version) and "-%s-" % version in first, version
print("check_wheel: %s; licences: %s" % ("packed again: the same bytes" if same else "packed again: other bytes", " ".join(licences)))
sys.exit(0 if same else 1)
PYTHON
