#!/usr/bin/env bash
# Does text alignment help? The last table of docs/scaling.md: SFT on next items alone, and with tasks between titles and
# semantic IDs, three seeds each. An hour and a half on 2 cores; stopped, it goes on where it was.
set -euo pipefail
cd "$(dirname "$0")/.."
runs=runs/alignment
export OMP_NUM_THREADS=1
.venv/bin/sidrec sweep configs/scientific.yaml --output "$runs" --seeds 0,1,2 --jobs 2 --stages tokenize,sft,evaluate \
  "baselines.models=[]" \
  --grid "sft.tasks={next_item: 1},{next_item: 0.8, title_to_item: 0.05, item_to_title: 0.15}"
.venv/bin/python scripts/write_alignment.py "$runs"
