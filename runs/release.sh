#!/usr/bin/env bash
# The released ensemble, from nothing to its figures on real sky: about three hours on two cores, minutes on a
# GPU. Members differ in the sky they see, in architecture and in seed. Interrupted, it goes on where it stopped.
#   DATA=../shared/data names the development sets of real images, to which members are tuned after training;
#   without them they stay as the simulated sky made them. What follows goes to every training: --accelerator gpu.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/.venv/bin:$PATH"
DATA=${DATA:-../shared/data} OUT=runs/out/release END=version_0/checkpoints/best.ckpt
TRANSFORMER="{dim: 128, depth: 4, heads: 4, inner_dropout: 0.05, dropout: 0.2}"

mlensing train_live --config configs/release.yaml --seed 42 --log_dir $OUT/survey --resume auto "$@"
mlensing train_live --config configs/release.yaml --mixture configs/release_sky_wide.yaml --seed 43 \
  --log_dir $OUT/wide --resume auto "$@"
mlensing train_live --config configs/release.yaml --mixture configs/release_sky_discs.yaml --seed 44 --lr 1.0e-3 \
  --model light_transformer --model_options "$TRANSFORMER" --log_dir $OUT/attention --resume auto "$@"

if [ -d "$DATA/cfhtls_rgb8" ]; then
  [ -d $OUT/labelled ] || python benchmarks/real/development_sets.py "$DATA" --output_dir $OUT/labelled
  mlensing train_live --config configs/release_tuning.yaml --seed 42 --init $OUT/survey/$END \
    --labelled $OUT/labelled --log_dir $OUT/survey_tuned --resume auto "$@"
  mlensing train_live --config configs/release_tuning.yaml --mixture configs/release_sky_wide.yaml --seed 43 \
    --init $OUT/wide/$END --labelled $OUT/labelled --log_dir $OUT/wide_tuned --resume auto "$@"
  mlensing train_live --config configs/release_tuning.yaml --mixture configs/release_sky_discs.yaml --seed 44 \
    --model light_transformer --model_options "$TRANSFORMER" --init $OUT/attention/$END \
    --labelled $OUT/labelled --log_dir $OUT/attention_tuned --resume auto "$@"
  python benchmarks/fine_tune.py "$DATA" --full --checkpoint $OUT/{survey,wide,attention}/$END --output_dir $OUT/cross_fitted
  REAL="--real_report $OUT/cross_fitted/report.json" TUNED=_tuned
fi

# Maps come with one member, whose scores stay what they are.
mlensing add_maps --config configs/release_maps.yaml --checkpoint $OUT/wide${TUNED:-}/$END \
  --log_dir $OUT/wide_maps --resume auto "$@"
MEMBERS="$OUT/survey${TUNED:-}/$END $OUT/wide_maps/$END $OUT/attention${TUNED:-}/$END"

mlensing ensemble $MEMBERS --mixture configs/release_sky.yaml --num_samples 8192 --output_dir src/mlensing/released
mlensing simulate --config configs/release_sky.yaml --num_samples 4096 --seed 7 --maps false --output_dir $OUT/sky
mlensing evaluate --checkpoint src/mlensing/released --data_dir $OUT/sky --output_dir $OUT/evaluation \
  --title "simulated images of configs/release_sky.yaml"
mlensing card src/mlensing/released --name released --about runs/release_card.md \
  --report $OUT/evaluation/report.json ${REAL:-}
# Where int8 costs too much this refuses, and the ensemble is shipped without it.
mlensing export src/mlensing/released --int8 true --mixture configs/release_sky.yaml --num_samples 4096
