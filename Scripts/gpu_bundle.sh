#!/usr/bin/env bash
# .work/gpu-bundle.tar.xz: the binary with Swift and OpenBLAS inside, the reference numbers that `doctor` compares with, and a README.
# What the machine has to bring: an NVIDIA driver of CUDA 12 or newer and libcublasLt (and libnvrtc for a card that kernels/ has nothing for).
# Fails past 60 MB.
set -euo pipefail
cd "$(dirname "$0")/.."
limit=60000000
command -v xz > /dev/null || { echo "gpu-bundle: xz is missing; as root, run:  apt-get install -y xz-utils" >&2; exit 2; }
Scripts/static_binary.sh
scratch=$(mktemp -d .work/bundle.XXXXXX)
trap 'rm -rf "$scratch"' EXIT
bundle=$scratch/lorikeet-gpu
mkdir -p "$bundle/Reference"
cp -r .work/static/lorikeet .work/static/kernels "$bundle/"
cp -r Tests/Reference/{llama,gemma2,qwen3,smollm2} "$bundle/Reference/"
cp LICENSE Scripts/make_random_model.py "$bundle/"
cat > "$bundle/README.txt" <<'TEXT'
Lorikeet for a machine with an NVIDIA card (compute capability 7.5 or newer, driver 525 or newer). Linux on x86-64 with AVX2, glibc 2.35.
libcublasLt comes from the CUDA toolkit or from pip:  pip install nvidia-cublas-cu12
Kernels for 7.5, 8.0, 8.6, 8.9 and 9.0 are in kernels/; other cards need libnvrtc too:  pip install nvidia-cuda-nvrtc-cu12
Where they lie elsewhere:  export LORIKEET_CUDA_LIBRARIES=/folder/of/nvrtc:/folder/of/cublas
    ./lorikeet doctor --device cuda:0                              the card and the libraries found
    ./lorikeet doctor --kernels                                    every kernel against the processor's, each type and odd sizes too
    ./lorikeet doctor --device cuda:0 --reference Reference/llama  its numbers against the reference's
    ./lorikeet doctor --device cuda:0 --reference Reference/smollm2 --model SmolLM2-135M-Instruct.Q4_1.gguf
                                                                   a real model's losses, answers and gradients
    ./lorikeet bench  --device cuda:0 --shape llama-3.2-1b         a training step, measured
    python3 make_random_model.py MODEL && ./lorikeet bench --device cuda:0 --model MODEL --json
                                                                   loading a 1B-shaped model of 2.5 GB: load_seconds, rss
TEXT
tar -C "$scratch" --sort=name --owner=0 --group=0 -cf - lorikeet-gpu | xz -T0 -6 > "$scratch/bundle.tar.xz"
bytes=$(stat -c %s "$scratch/bundle.tar.xz")
if [ "$bytes" -gt "$limit" ]; then
    echo "gpu-bundle: $bytes bytes compressed, more than $limit" >&2
    exit 1
fi
mv "$scratch/bundle.tar.xz" .work/gpu-bundle.tar.xz
echo "gpu-bundle: .work/gpu-bundle.tar.xz, $((bytes / 1000000)) MB ($(stat -c %s "$bundle/lorikeet") bytes unpacked)"
