#!/usr/bin/env bash
# One factor at a time around the best recipe: the last table of docs/quality.md, measured on valid users, so that test stays
# unread. Usage: scripts/reproduce_ablation.sh scientific. Three hours on 2 cores; stopped, it goes on where it was.
set -euo pipefail
cd "$(dirname "$0")/.."
name=$1
runs=runs/ablation-$name
export OMP_NUM_THREADS=1
sweep() {
  .venv/bin/sidrec sweep "configs/${name}_best.yaml" "baselines.models=[]" --output "$runs" --seeds 0,1 --jobs 2 \
    --stages tokenize,sft "$@"
}
sweep --grid sft.item_loss=0.5
# Vectors of items' own: in the output rows alone, and nowhere.
sweep model.item_embedding=false --grid sft.item_embedding=true,false
sweep --grid sft.loss=level
sweep evaluation.rerank=0 --grid sft.item_loss=0
sweep --grid sft.item_loss=2
sweep --grid sft.label_smoothing=0
sweep --grid sft.weight_average=0
sweep --grid sft.dropout=0.2
sweep --grid model.hidden_size=64,256
sweep --grid tokenizer.method=rqkmeans,random
# The LM head, which reads an item as one position for each code, or merged.
lm() { sweep model.item_embedding=false sft.item_embedding=true "$@"; }
lm --grid model.head=lm
lm model.head=lm --grid model.skip_connection=true
lm model.head=lm --grid prompt.history=merged
.venv/bin/python scripts/write_ablation.py "$name" "$runs"
