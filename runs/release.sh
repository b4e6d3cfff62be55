#!/usr/bin/env bash
# The released finder, from nothing to its figures on real sky: about an hour on two cores, minutes on a GPU.
# Interrupted, go on with:  runs/release.sh --resume runs/out/release/version_0/checkpoints/last.ckpt
#   DATA=../shared/data names the development sets of benchmarks/real_sky.py; without them that step says so and skips.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/.venv/bin:$PATH"

mlensing train_live --config configs/release.yaml "$@"
python benchmarks/real_sky.py "${DATA:-../shared/data}"
