#!/usr/bin/env bash
# The table and the plot of docs/scaling.md: widths of 32 to 512, so that each model has four times the parameters of the
# one before beside its embedding; the same layers, data and epochs. About an hour on 2 cores, half of it for the
# largest; stopped, it goes on where it was.
set -euo pipefail
cd "$(dirname "$0")/.."
runs=runs/scaling
export OMP_NUM_THREADS=1
# width, heads of 32, and a learning rate that falls with the square root of the width.
shapes=(32,1,4e-3 64,2,2.8e-3 128,4,2e-3 256,8,1.4e-3 512,16,1e-3)
for shape in "${shapes[@]}"; do
  IFS=, read -r width heads rate <<<"$shape"
  .venv/bin/sidrec sweep configs/scientific.yaml --output "$runs" --seeds 0,1,2 --jobs 2 --stages tokenize,sft \
    --grid "model.hidden_size=$width" "model.num_layers=3" "model.num_heads=$heads" "model.intermediate_size=null" "prompt={}" \
    "baselines.models=[]" "sft={tasks: {next_item: 1}, epochs: 6, evaluations: 6, patience: 6, learning_rate: $rate}"
done
.venv/bin/python scripts/write_scaling.py "$runs"
