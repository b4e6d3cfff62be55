#!/usr/bin/env bash
# The whole path in a few minutes on two cores: simulate a sky, train a finder, measure it, rank images it has not seen.
set -euo pipefail
cd "$(dirname "$0")/.."
rm -rf demo

mlensing simulate --config configs/demo_sky.yaml --num_samples 3072 --output_dir demo/sky --seed 1 --maps false
mlensing train --config configs/demo.yaml --data_dir demo/sky --log_dir demo/lightning_logs
mlensing evaluate --checkpoint demo/lightning_logs/version_0/checkpoints/best.ckpt --data_dir demo/sky/test/ \
  --output_dir demo --title "Demo: simulated lenses and impostors"
mlensing predict demo/sky/test/index.csv --checkpoint demo/lightning_logs/version_0/checkpoints/best.ckpt \
  --output demo/scores.csv --page demo/ranking.html

echo
echo "Look at demo/report.html (how good it is) and demo/ranking.html (the ranked list)."
echo "A few minutes of training on a small sky make a weak finder; runs/release.sh makes a better one."
echo "Next, your own images:"
echo "  .venv/bin/mlensing predict my_images/ --checkpoint demo/lightning_logs/version_0/checkpoints/best.ckpt \\"
echo "    --survey des --output scores.csv --page ranking.html"
