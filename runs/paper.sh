#!/usr/bin/env bash
# The paper's table and figures: simulate, train all three families, measure. Interrupted, it goes on where it stopped.
#   runs/paper.sh            50,000 images, networks at full width, up to 50 epochs: made for a GPU
#   runs/paper.sh --small    10,000 images, narrow networks, few epochs: about an hour on two cores; marked as small
# What follows goes to every training, such as --accelerator gpu. Results: metrics.json and figures in runs/out/.../results.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/.venv/bin:$PATH"

if [ "${1:-}" = --small ]; then
  shift
  OUT=runs/out/paper_small
  mlensing simulate --config configs/paper_synthetic.yaml --num_samples 10000 --maps false --output_dir $OUT/sky
  for seed in 42 43 44; do
    mlensing train --config configs/paper_small.yaml --data_dir $OUT/sky --seed $seed \
      --log_dir $OUT/resnet18-$seed --resume auto "$@"
  done
  mlensing train --config configs/paper_small.yaml --data_dir $OUT/sky --model resnet34 \
    --model_options "{width: 32, stem: imagenet}" --log_dir $OUT/resnet34 --resume auto "$@"
  mlensing train --config configs/paper_small.yaml --data_dir $OUT/sky --model light_transformer --lr 1.0e-3 \
    --model_options "{dim: 128, depth: 4, heads: 4}" --max_epochs 12 --log_dir $OUT/light_transformer --resume auto "$@"
  # A transformer of plain patches learns slowly from 8,000 images: nothing in four epochs, at whatever size.
  mlensing train --config configs/paper_small.yaml --data_dir $OUT/sky --model vit_s16 --lr 5.0e-4 \
    --model_options "{dim: 128, depth: 4, heads: 4, patch: 8}" --max_epochs 40 --log_dir $OUT/vit_s16 --resume auto "$@"
else
  OUT=runs/out/paper
  mlensing simulate --config configs/paper_synthetic.yaml --num_samples 50000 --maps false --output_dir $OUT/sky
  for seed in 42 43 44; do
    mlensing train --config configs/baseline.yaml --data_dir $OUT/sky --seed $seed \
      --log_dir $OUT/resnet18-$seed --resume auto "$@"
  done
  mlensing train --config configs/baseline.yaml --data_dir $OUT/sky --model resnet34 \
    --log_dir $OUT/resnet34 --resume auto "$@"
  mlensing train --config configs/baseline.yaml --data_dir $OUT/sky --model light_transformer --lr 5.0e-4 \
    --log_dir $OUT/light_transformer --resume auto "$@"
  mlensing train --config configs/baseline.yaml --data_dir $OUT/sky --model vit_b16 --lr 3.0e-4 \
    --log_dir $OUT/vit_b16 --resume auto "$@"
fi
mlensing eval_paper --data_dir $OUT/sky/test --log_dir $OUT --output_dir $OUT/results --generate_figures
