#!/usr/bin/env bash
# The released finders, three seeds of one recipe, from nothing to their figures on real sky: about an hour and a half on
# two cores, minutes on a GPU. Interrupted, it goes on where it stopped when it is called again.
#   DATA=../shared/data names the development sets of benchmarks/real_sky.py; without them that step says so and skips.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/.venv/bin:$PATH"

mlensing train_live --config configs/release.yaml --seed 42 --log_dir runs/out/release/seed_42 --resume auto "$@"
mlensing train_live --config configs/release.yaml --seed 43 --log_dir runs/out/release/seed_43 --resume auto "$@"
mlensing train_live --config configs/release.yaml --seed 44 --log_dir runs/out/release/seed_44 --resume auto "$@"
python benchmarks/real_sky.py "${DATA:-../shared/data}"
