#!/usr/bin/env bash
# Executes notebooks/kaggle_free_tier_qlora.ipynb from a clean virtual environment with only the wheel, on the processor, twice: the first
# execution ends with its session (exit 75), the second begins in an empty folder, goes on from the first one's output and ends with a tested model
# whose adapter has the bits of an undisturbed run.
#
#   Scripts/run_notebook.sh                    a tiny model, in about a minute
#   Scripts/run_notebook.sh --smollm2          SmolLM2-135M and the demo's records (make model data-kinds), in some ten minutes
#
# The wheel is the newest .work/lorikeet_qlora-*.whl (make wheel); KEEP=FOLDER keeps the executed notebooks there.
set -eu
cd "$(dirname "$0")/.."
wheel=$(ls -t .work/lorikeet_qlora-*.whl 2>/dev/null | head -1)
[ -n "$wheel" ] || { echo "no wheel in .work: make wheel"; exit 1; }
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
python3 -m venv "$scratch/venv"
"$scratch/venv/bin/pip" install --quiet --disable-pip-version-check nbclient ipykernel nbformat
mkdir "$scratch/wheel"
cp "$wheel" "$scratch/wheel/"
# What Python and IPython keep of a user stays in the scratch folder too.
HOME="$scratch" IPYTHONDIR="$scratch/ipython" PYTHONPATH= "$scratch/venv/bin/python" Scripts/run_notebook.py "$scratch" "$@"
