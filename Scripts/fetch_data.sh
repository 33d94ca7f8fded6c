#!/usr/bin/env bash
# Makes a demo's data set in .work: fetch_data.sh kinds | shell. Does nothing where it is.
set -euo pipefail
cd "$(dirname "$0")/.."
name=${1:-}
output=.work/$name

give_up() { echo "data: $1" >&2; exit "${2:-4}"; }
case $name in kinds | shell) ;; *) give_up "say which: fetch_data.sh kinds | shell" 2 ;; esac
if [ -s "$output/train.jsonl" ] && [ -s "$output/validation.jsonl" ]; then
    echo "data: $output is there"
    exit 0
fi
mkdir -p .work
# apt-get downloads as the user _apt, so the folder must be open to it.
scratch=$(mktemp -d)
chmod 777 "$scratch"
trap 'rm -rf "$scratch" "$output.partial"' EXIT
rm -rf "$output.partial"

fetch_wordnet() {
    command -v apt-get > /dev/null || give_up "WordNet comes from Debian's package wordnet-base, and apt-get is missing here" 2
    (cd "$scratch" && apt-get download -qq wordnet-base > /dev/null 2>&1) && return
    # The lists may be missing or old (a fresh container).
    if [ "$(id -u)" = 0 ]; then apt-get update -qq; elif sudo -n true 2> /dev/null; then sudo apt-get update -qq; fi
    (cd "$scratch" && apt-get download -qq wordnet-base) || give_up "apt-get download wordnet-base failed; check the network and run 'apt-get update' as root"
}

case $name in
    kinds)
        fetch_wordnet
        dpkg-deb -x "$scratch"/wordnet-base_*.deb "$scratch/wordnet"
        python3 Scripts/make_kinds.py "$scratch/wordnet" "$output.partial"
        ;;
    shell)
        python3 -m pip download --quiet --disable-pip-version-check --no-deps --no-binary cheat,eg --dest "$scratch" cheat==2.5.1 eg==1.2.3 ||
            give_up "the download of cheat and eg failed; check the network (or PIP_INDEX_URL)"
        python3 Scripts/make_shell.py "$scratch" "$output.partial"
        ;;
esac
rm -rf "$output"
mv "$output.partial" "$output"
echo "data: $output"
