#!/usr/bin/env bash
# The tables of docs/quality.md: the best recipe of sidrec beside the strongest baselines, three seeds, raw and with the
# items of the history left out. Usage: scripts/reproduce_quality.sh scientific. Two hours on 2 cores; stopped, it goes on
# where it was.
set -euo pipefail
cd "$(dirname "$0")/.."
name=$1
runs=runs/quality-$name
export OMP_NUM_THREADS=1
sweep() { .venv/bin/sidrec sweep "configs/${name}_best.yaml" --output "$runs" --seeds 0,1,2 --jobs 2 "$@"; }
sweep --stages tokenize,baselines,sft,rl,evaluate --grid evaluation.exclude_history=false,true
# The same models without re-ranking.
sweep --stages tokenize,sft,rl,evaluate "baselines.models=[]" --grid evaluation.rerank=0 --grid evaluation.exclude_history=false,true
.venv/bin/python scripts/rank_rivals.py "$runs"
.venv/bin/python scripts/write_quality.py "$name" "$runs"
