#!/usr/bin/env bash
# The pictures of docs/images: each survey's simulated sky, lenses left of the line, impostors right of it.
#   DATA=../shared/data names the development sets: with them pages and mosaics beside the real sky go to
#   runs/out/realism, which git ignores; without them that step says so and skips.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/.venv/bin:$PATH"

mlensing realism --simulated configs/picture_sky.yaml --survey cfhtls --output_dir docs/images
mlensing realism --simulated configs/picture_sky.yaml --survey des --output_dir docs/images
mlensing realism --simulated configs/picture_sky.yaml --survey euclid --output_dir docs/images
mlensing realism --simulated configs/picture_sky.yaml --survey hsc --output_dir docs/images
mlensing realism --simulated configs/picture_sky.yaml --survey hst --output_dir docs/images
mlensing realism --simulated configs/picture_sky.yaml --survey kids --output_dir docs/images
mlensing realism --simulated configs/picture_sky.yaml --survey legacy --output_dir docs/images
mlensing realism --simulated configs/picture_sky.yaml --survey lsst --output_dir docs/images
mlensing realism --simulated configs/picture_sky.yaml --survey sdss --output_dir docs/images
python benchmarks/realism.py "${DATA:-../shared/data}" --output_dir runs/out/realism
