#!/usr/bin/env bash
# What pretraining without labels buys on real sky: the released finder's network, as it starts and pretrained, learns
# the same simulated sky in the same order, twice with other seeds, and both look at the development sets. The images of
# these sets, without their labels, are a quarter of what it is pretrained on; the rest is simulated. About two hours of
# one core. Interrupted, it goes on where it stopped.
#   DATA=../shared/data names the development sets. What follows goes to every training: --accelerator gpu.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/.venv/bin:$PATH"
DATA=${DATA:-../shared/data} OUT=runs/out/pretrained END=version_0/checkpoints

[ -d $OUT/labelled ] || python benchmarks/real/development_sets.py "$DATA" --output_dir $OUT/labelled
mlensing pretrain --config configs/pretrain.yaml --data $OUT/labelled/images.csv --mixture configs/release_sky.yaml \
  --simulated_share 0.75 --epochs 20 --model_options "{width: 24, stem: stride2, dropout: 0.2}" \
  --labelled $OUT/labelled --log_dir $OUT/moco --resume auto "$@"
for seed in 42 43; do
  for start in "untrained" "pretrained --init $OUT/moco/$END/last.ckpt"; do
    read -r name init <<< "$start"
    mlensing train_live --config configs/release.yaml --draws 40960 --validation_draws 2048 --precision 32-true \
      --seed $seed $init --log_dir $OUT/${name}_$seed --resume auto "$@"
  done
done
for name in untrained pretrained; do
  echo "$name" >&2
  python benchmarks/real_sky.py "$DATA" --checkpoint $OUT/${name}_4{2,3}/$END/best.ckpt --output_dir $OUT/$name
done
