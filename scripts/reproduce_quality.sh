#!/usr/bin/env bash
# The tables of docs/quality.md: the best recipe of sidrec beside the strongest baselines, three seeds, raw and with the
# items of the history left out. Usage: scripts/reproduce_quality.sh scientific, or ml-100k for the same recipe, untouched,
# on films. Two hours on 2 cores each; stopped, it goes on where it was.
set -euo pipefail
cd "$(dirname "$0")/.."
name=$1
runs=runs/quality-$name
case $name in
scientific) catalog=() ;;
ml-100k) # the recipe is that of the other catalogue, untouched
  catalog=(catalog.items=data/ml-100k catalog.title=movie_title 'catalog.text="{movie_title} ({release_year}) {class}"')
  ;;
*)
  echo "$name is neither scientific nor ml-100k." >&2
  exit 2
  ;;
esac
export OMP_NUM_THREADS=1
sweep() { .venv/bin/sidrec sweep configs/scientific_best.yaml "${catalog[@]}" --output "$runs" --seeds 0,1,2 --jobs 2 "$@"; }
sweep --stages tokenize,baselines,sft,rl,evaluate --grid evaluation.exclude_history=false,true
# The same models without re-ranking.
sweep --stages tokenize,sft,rl,evaluate "baselines.models=[]" --grid evaluation.rerank=0 --grid evaluation.exclude_history=false,true
.venv/bin/python scripts/rank_rivals.py "$runs"
.venv/bin/python scripts/write_quality.py "$name" "$runs"
