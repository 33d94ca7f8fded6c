#!/usr/bin/env bash
# .work/static/lorikeet: the release binary with Swift's libraries, OpenBLAS, PCRE2, zlib and Zstandard inside, without symbols; and
# .work/static/kernels: every GPU kernel compiled for 7.5, 8.0, 8.6, 8.9 and 9.0 by NVRTC from PyPI, which the binary finds beside itself.
# For the wheel and the GPU bundle. The binary still needs the C and C++ libraries of a Linux on x86-64 (glibc 2.35).
set -euo pipefail
cd "$(dirname "$0")/.."
command -v strip > /dev/null || { echo "static_binary: strip is missing; as root, run:  apt-get install -y binutils" >&2; exit 2; }
python3 Scripts/kernel_table.py
swift build -c release --static-swift-stdlib --scratch-path .build-static --explicit-target-dependency-import-check error --product lorikeet
mkdir -p .work/static
strip -o .work/static/lorikeet.new .build-static/release/lorikeet
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
