#!/bin/sh
# Trains with NaN and infinity put into activations and gradients at random steps: COUNT runs on the processor and an eighth of that on each emulated
# card; every run has to end with a loss like those of undisturbed runs.
#   Scripts/fault_runs.sh [COUNT]
set -e
cd "$(dirname "$0")/.."
LORIKEET_FAULT_RUNS="${1:-100}" swift test --scratch-path .build-test -c release -Xswiftc -enable-testing \
    --explicit-target-dependency-import-check error --filter FaultTests
