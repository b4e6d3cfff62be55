#!/usr/bin/env bash
# The released finders, three seeds of one recipe, from nothing to their figures on real sky: about two hours on two
# cores, minutes on a GPU. Interrupted, it goes on where it stopped when it is called again.
#   DATA=../shared/data names the development sets of benchmarks/real_sky.py; without them that step says so and skips.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/.venv/bin:$PATH"

for seed in 42 43 44; do
  out=runs/out/release/seed_$seed
  [ -f "$out/finished" ] && continue
  last=$(ls -t "$out"/version_*/checkpoints/last.ckpt 2>/dev/null | head -n 1 || true)
  mlensing train_live --config configs/release.yaml --seed "$seed" --log_dir "$out" ${last:+--resume "$last"} "$@"
  touch "$out/finished"
done
python benchmarks/real_sky.py "${DATA:-../shared/data}"
