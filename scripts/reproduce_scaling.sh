#!/usr/bin/env bash
# The table and the plot of docs/scaling.md: models of 0.1M to 10M parameters on the same data, with the same epochs.
# Usage: scripts/reproduce_scaling.sh. Hours on 2 cores, most of them for the largest; stopped, it goes on.
set -euo pipefail
cd "$(dirname "$0")/.."
runs=runs/scaling
export OMP_NUM_THREADS=1
# width, layers, heads: MLPs of three times the width, as the presets have them.
shapes=(32,2,2 64,2,2 96,3,3 128,4,4 192,5,6 256,8,8)
for shape in "${shapes[@]}"; do
  IFS=, read -r width layers heads <<<"$shape"
  .venv/bin/sidrec sweep configs/scientific.yaml --output "$runs" --seeds 0,1,2 --jobs 2 --stages tokenize,sft \
    --grid "model.hidden_size=$width" \
    "model.num_layers=$layers" "model.num_heads=$heads" "baselines.models=[]" "sft.tasks={next_item: 1}"
done
.venv/bin/python scripts/write_scaling.py "$runs"
