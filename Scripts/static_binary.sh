#!/usr/bin/env bash
# .work/static/lorikeet: the release binary with Swift's libraries, OpenBLAS, PCRE2, zlib and Zstandard inside, without symbols; and
# .work/static/kernels: every GPU kernel compiled for 7.5, 8.0, 8.6, 8.9 and 9.0 by NVRTC from PyPI, which the binary finds beside itself.
# For the wheel and the GPU bundle. The binary still needs the C and C++ libraries of a Linux on x86-64 (glibc 2.35).
#     Scripts/static_binary.sh            compiles everything for it (.build-static): what is released
#     Scripts/static_binary.sh BUILD      links the objects of a build that exists, such as .build-test: for checks of the same sources in seconds.
#                                         Those of the tests are compiled with -enable-testing, which keeps more of the code in the binary.
set -euo pipefail
cd "$(dirname "$0")/.."
command -v strip > /dev/null || { echo "static_binary: strip is missing; as root, run:  apt-get install -y binutils" >&2; exit 2; }
mkdir -p .work/static
if [ $# -gt 0 ]; then
    objects=$1/release/lorikeet.product/Objects.LinkFileList
    [ -f "$objects" ] || { echo "static_binary: there is no build in $1; run make test-build" >&2; exit 2; }
    linked=$(mktemp -d .work/linked.XXXXXX)
    trap 'rm -rf "$linked"' EXIT
    # Objects name the libraries of the modules that they import. This one names Swift's static libraries; they name the dynamic ones.
    echo 'import Foundation' > "$linked/libraries.swift"
    swiftc -static-stdlib -O -parse-as-library -emit-executable -module-name libraries "$linked/libraries.swift" "@$objects" -o "$linked/lorikeet" \
        -Xlinker --gc-sections -Xlinker --defsym -Xlinker main=CLI_main -l:libz.a -l:libzstd.a -l:libpcre2-8.a -l:libopenblas.a -lm -lstdc++
else
    linked=.build-static/release
    python3 Scripts/kernel_table.py
    swift build -c release --static-swift-stdlib --scratch-path .build-static --explicit-target-dependency-import-check error --product lorikeet
fi
strip -o .work/static/lorikeet.new "$linked/lorikeet"
# Nothing of Swift's may be looked for on the other machine.
if ldd .work/static/lorikeet.new | grep -E 'libswift|libFoundation|libopenblas|libpcre2|not found'; then
    echo "static_binary: the binary is not static" >&2
    exit 1
fi
.work/static/lorikeet.new --version > /dev/null
mv .work/static/lorikeet.new .work/static/lorikeet

nvrtc=$(python3 Scripts/compile_kernels.py --fetch)
# A process for each: NVRTC compiles one program at a time. What is there and belongs to these sources stays.
printf '%s\n' 90 89 86 80 75 | LORIKEET_CUDA_LIBRARIES="$nvrtc" \
    xargs -P "$(nproc)" -I{} .work/static/lorikeet kernels --output .work/static/kernels --architectures {} --threads 1
