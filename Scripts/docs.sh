#!/usr/bin/env bash
# .work/docs: the public library's documentation (DocC) of a build that exists. A warning (a broken link, an undocumented parameter name) fails.
#     Scripts/docs.sh BUILD      BUILD is a folder of swift build such as .build-test/release
set -euo pipefail
cd "$(dirname "$0")/.."
build=${1:-.build/release}
[ -f "$build/Modules/Lorikeet.swiftmodule" ] || { echo "docs: there is no build in $build; run make build" >&2; exit 2; }
command -v docc > /dev/null || { echo "docs: docc is missing; it comes with the Swift toolchain" >&2; exit 2; }
mkdir -p .work
symbols=$(mktemp -d .work/symbols.XXXXXX)
trap 'rm -rf "$symbols"' EXIT
# The module maps of the C targets, which the library's modules import.
maps=()
for map in "$build"/C*.build/module.modulemap "$build"/../../checkouts/Yams/Sources/CYaml/include/module.modulemap; do
    maps+=(-Xcc "-fmodule-map-file=$map")
done
swift symbolgraph-extract -module-name Lorikeet -target "$(swiftc -print-target-info | python3 -c 'import json, sys; print(json.load(sys.stdin)["target"]["triple"])')" \
    -I "$build/Modules" "${maps[@]}" -minimum-access-level public -output-dir "$symbols"
rm -rf .work/docs
docc convert Sources/Lorikeet/Lorikeet.docc --additional-symbol-graph-dir "$symbols" --output-path .work/docs \
    --fallback-display-name Lorikeet --fallback-bundle-identifier lorikeet.Lorikeet --warnings-as-errors
echo "docs: .work/docs (docc preview shows it)"
