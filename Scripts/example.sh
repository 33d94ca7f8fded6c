#!/usr/bin/env bash
# .work/finetune: the program of Examples/library, compiled as another package's against a build that exists. It sees only what is public.
#     Scripts/example.sh BUILD      BUILD is a folder of swift build such as .build-test/release
# With qemu-user installed it also runs it on a processor without AVX2, which has to give a sentence and exit 2.
set -euo pipefail
cd "$(dirname "$0")/.."
build=${1:-.build/release}
[ -f "$build/Modules/Lorikeet.swiftmodule" ] || { echo "example: there is no build in $build; run make build" >&2; exit 2; }
mkdir -p .work
maps=()
for map in "$build"/C*.build/module.modulemap "$build"/../../checkouts/Yams/Sources/CYaml/include/module.modulemap; do
    maps+=(-Xcc "-fmodule-map-file=$map")
done
# The library's objects: all that the command line is linked from, without the command line. The program's own come last.
objects=()
while read -r object; do
    object=${object//\'/}
    case $object in */CLI.build/* | */ArgumentParser*) ;; *) objects+=("$object") ;; esac
done < "$build"/lorikeet.product/Objects.LinkFileList
swiftc -O -swift-version 6 -parse-as-library -package-name finetune -module-name finetune -warnings-as-errors -I "$build/Modules" "${maps[@]}" \
    -emit-object Examples/library/Sources/finetune/Finetune.swift -o .work/finetune.o
swiftc "${objects[@]}" .work/finetune.o -o .work/finetune -l:libz.a -l:libzstd.a -l:libopenblas.a -l:libpcre2-8.a -lm -lstdc++
rm -f .work/finetune.o
.work/finetune > /dev/null && { echo "example: without arguments it has to exit with 2" >&2; exit 1; }
if command -v qemu-x86_64 > /dev/null; then
    code=0
    said=$(qemu-x86_64 -cpu Nehalem .work/finetune model data output) || code=$?
    [ "$code" = 2 ] && [[ $said == *"no AVX2"* ]] || { echo "example: on a processor without AVX2: exit $code, $said" >&2; exit 1; }
    echo "example: on a processor without AVX2: $said"
else
    echo "example: qemu-user is missing, so it was not run on a processor without AVX2"
fi
echo "example: .work/finetune"
