#!/usr/bin/env bash
# A small sky with hidden lenses, searched by the released ensemble: under a minute, with no training.
set -euo pipefail
cd "$(dirname "$0")/.."
rm -rf demo

mlensing simulate --config configs/demo_sky.yaml --num_samples 1024 --output_dir demo/sky --seed 1 --maps false
mlensing predict demo/sky/index.csv --prevalence 0.025 --output demo/scores.csv --page demo/ranking.html
mlensing evaluate --data_dir demo/sky/index.csv --prevalence 0.025 --output_dir demo \
  --title "Demo: a simulated sky, one lens in forty"

echo
echo "Look at demo/ranking.html (the ranked list) and demo/report.html (how many of the hidden lenses it found)."
echo "Next, your own images (FITS, PNG, JPEG or npy), for instance:"
echo "  .venv/bin/mlensing predict my_images/ --survey des --output scores.csv --page ranking.html"
