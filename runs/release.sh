#!/usr/bin/env bash
# The released ensemble, from nothing to its figures on real sky: about two and a half hours on two cores, minutes on a
# GPU. Members differ in the sky they see, in architecture and in seed. Interrupted, it goes on where it stopped.
#   DATA=../shared/data names the development sets of benchmarks/real_sky.py; without them that step says so and skips.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/.venv/bin:$PATH"

mlensing train_live --config configs/release.yaml --seed 42 --log_dir runs/out/release/survey --resume auto "$@"
mlensing train_live --config configs/release.yaml --mixture configs/release_sky_wide.yaml --seed 43 \
  --log_dir runs/out/release/wide --resume auto "$@"
mlensing train_live --config configs/release.yaml --mixture configs/release_sky_discs.yaml --seed 44 --lr 1.0e-3 \
  --model light_transformer \
  --model_options "{dim: 128, depth: 4, heads: 4, inner_dropout: 0.05, dropout: 0.2}" \
  --log_dir runs/out/release/attention --resume auto "$@"
mlensing ensemble runs/out/release/survey/version_0/checkpoints/best.ckpt \
  runs/out/release/wide/version_0/checkpoints/best.ckpt runs/out/release/attention/version_0/checkpoints/best.ckpt \
  --mixture configs/release_sky.yaml --num_samples 8192 --output_dir src/mlensing/released
mlensing export src/mlensing/released --int8 true --mixture configs/release_sky.yaml --num_samples 4096
mlensing simulate --config configs/release_sky.yaml --num_samples 4096 --seed 7 --maps false --output_dir runs/out/release/sky
mlensing evaluate --checkpoint src/mlensing/released --data_dir runs/out/release/sky/test \
  --title "simulated images of configs/release_sky.yaml" --output_dir runs/out/release/evaluation
python benchmarks/real_sky.py "${DATA:-../shared/data}" --output_dir runs/out/release/real_sky
mlensing card src/mlensing/released --name released --report runs/out/release/evaluation/report.json \
  --real_report runs/out/release/real_sky/report.json
