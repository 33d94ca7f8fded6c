#!/usr/bin/env bash
# Compares downloads, cache and uploads with Python's huggingface_hub, both ways, against a hub on this machine:
#   Scripts/hub_with_python.sh LORIKEET PYTHON        PYTHON has huggingface_hub installed
# What lorikeet fetched, Python finds offline, and what Python fetched, lorikeet finds offline; both link each file to the same content.
set -euo pipefail
lorikeet=$1
python=$2
root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'kill "$server" 2> /dev/null || true; rm -rf "$work"' EXIT

mkdir -p "$work/hub/me" "$work/hub/datasets/me/records/data"
cp -r "$root/Tests/Reference/llama" "$work/hub/me/tiny"
head -c 5000000 /dev/urandom > "$work/hub/me/tiny/tokenizer.json"
echo '{"prompt": "a", "completion": "b"}' > "$work/hub/datasets/me/records/data/train.jsonl"
python3 "$root/Scripts/local_hub.py" "$work/hub" --port 0 > "$work/address" &
server=$!
for _ in $(seq 50); do [ -s "$work/address" ] && break; sleep 0.1; done
. "$work/address"
export HF_HUB_DISABLE_TELEMETRY=1 HF_HUB_DISABLE_PROGRESS_BARS=1
unset HF_HUB_CACHE HUGGINGFACE_HUB_CACHE HF_TOKEN HF_HUB_OFFLINE

needed='["*.json", "*.safetensors"]'
snapshot() { # snapshot HOME: the folder that Python finds
    HF_HOME=$1 "$python" -c "from huggingface_hub import snapshot_download; print(snapshot_download('me/tiny', allow_patterns=$needed, ignore_patterns=['*/*']))"
}
tree() { (cd "$1" && find . -type l | sort | while read -r link; do echo "$link $(readlink "$link")"; done; find refs -type f -exec cat {} +); }

echo "lorikeet fetches, Python finds offline"
ours=$(HF_HOME=$work/ours "$lorikeet" pull me/tiny 2> /dev/null | tail -1)
[ "$(HF_HUB_OFFLINE=1 snapshot "$work/ours")" = "$ours" ]
HF_HOME=$work/ours HF_HUB_OFFLINE=1 "$python" - << 'PYTHON'
from huggingface_hub import hf_hub_download, scan_cache_dir, try_to_load_from_cache
assert open(hf_hub_download("me/tiny", "config.json")).read(1) == "{"
assert try_to_load_from_cache("me/tiny", "model.safetensors")
report = scan_cache_dir()
assert not report.warnings, report.warnings
assert [repo.repo_id for repo in report.repos] == ["me/tiny"], report
PYTHON

echo "Python fetches, lorikeet finds offline"
theirs=$(snapshot "$work/theirs")
[ "$(HF_HOME=$work/theirs HF_HUB_OFFLINE=1 "$lorikeet" pull me/tiny 2> /dev/null | tail -1)" = "$theirs" ]
diff <(tree "$work/ours/hub/models--me--tiny" | grep -E 'config.json|model.safetensors|tokenizer.json|^[0-9a-f]{40}$') \
    <(tree "$work/theirs/hub/models--me--tiny" | grep -E 'config.json|model.safetensors|tokenizer.json|^[0-9a-f]{40}$')

echo "and online neither fetches again"
HF_HOME=$work/theirs "$lorikeet" pull me/tiny 2> /dev/null | grep -q 'all there already'

echo "what check leaves of a model, its weights not fetched, Python completes"
HF_HOME=$work/part "$lorikeet" check --model me/tiny --data "$work/hub/datasets/me/records/data/train.jsonl" > /dev/null 2>&1 || true
[ -n "$(find "$work/part/hub" -name config.json)" ] && [ -z "$(find "$work/part/hub" -name '*safetensors*')" ]
HF_HOME=$work/part "$python" -c 'from huggingface_hub import try_to_load_from_cache as find; assert find("me/tiny", "model.safetensors") is None'
[ "$(basename "$(snapshot "$work/part")")" = "$(basename "$ours")" ] && [ -n "$(find "$work/part/hub" -name model.safetensors)" ]

echo "a data set too"
data=$(HF_HOME=$work/ours "$lorikeet" pull --dataset me/records 2> /dev/null | tail -1)
[ "$(HF_HOME=$work/ours HF_HUB_OFFLINE=1 "$python" -c "from huggingface_hub import hf_hub_download; print(hf_hub_download('me/records', 'data/train.jsonl', repo_type='dataset'))")" = "$data" ]
echo "the cache is one: $("$python" -c 'import huggingface_hub; print("huggingface_hub", huggingface_hub.__version__)')"

echo "what lorikeet uploads, Python downloads, and the other way round, whole and in parts"
export HF_HUB_DISABLE_XET=1 HF_TOKEN=hf_test
mkdir -p "$work/model" && cp "$work/hub/me/tiny"/*.* "$work/model" && rm -f "$work/model"/expected* "$work/model"/nf4*
for chunk in 0 1000000; do
    mkdir -p "$work/up$chunk"
    python3 "$root/Scripts/local_hub.py" "$work/up$chunk" --port 0 --chunk "$chunk" --token hf_test > "$work/address$chunk" &
    servers="${servers:-} $!"
    trap 'kill $server $servers 2> /dev/null || true; rm -rf "$work"' EXIT
    for _ in $(seq 50); do [ -s "$work/address$chunk" ] && break; sleep 0.1; done
    . "$work/address$chunk"
    "$lorikeet" push "$work/model" me/ours --private 2> /dev/null | tail -1
    HF_HOME=$work/home$chunk "$python" - "$work/model" << 'PYTHON'
import filecmp, os, sys
from huggingface_hub import HfApi, snapshot_download
folder = sys.argv[1]
there = snapshot_download("me/ours")
assert sorted(os.listdir(there)) == sorted(os.listdir(folder)), os.listdir(there)
assert not filecmp.cmpfiles(there, folder, os.listdir(folder), shallow=False)[1]
assert HfApi().model_info("me/ours").private
HfApi().create_repo("me/theirs")
HfApi().upload_folder(repo_id="me/theirs", folder_path=folder)
PYTHON
    diff -r "$work/up$chunk/me/ours" "$work/up$chunk/me/theirs"
    # Each finds that the other has uploaded everything.
    "$lorikeet" push "$work/model" me/theirs 2> /dev/null | grep -q 'all there already'
    HF_HOME=$work/home$chunk "$python" -c "
from huggingface_hub import HfApi
before = HfApi().model_info('me/ours').sha
HfApi().upload_folder(repo_id='me/ours', folder_path='$work/model')
assert HfApi().model_info('me/ours').sha == before"
    HF_TOKEN=wrong "$lorikeet" push "$work/model" me/more > /dev/null 2>&1 && exit 1 || [ $? = 2 ]
done
echo "uploads are one"
