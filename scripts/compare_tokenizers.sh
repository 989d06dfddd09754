#!/usr/bin/env bash
# The downstream tables of docs/tokenizers.md: one model, one training budget, every tokenizer, three seeds.
# Usage: scripts/compare_tokenizers.sh scientific|ml-100k. Hours on 2 cores; stopped, it goes on where it was.
set -euo pipefail
cd "$(dirname "$0")/.."
name=$1
runs=runs/$name-tokenizers
export OMP_NUM_THREADS=1
# The same short training on next items for all: what counts is the difference. Histories of a hundred films make
# an epoch of ml-100k five times as long.
case $name in ml-100k) epochs=2 ;; *) epochs=6 ;; esac
# In place of what the config has found best for one tokenizer: the defaults.
budget=("sft={epochs: $epochs, evaluations: 4, tasks: {next_item: 1}}" "model={}" "prompt={}" "baselines.models=[]")
sweep() {
  .venv/bin/sidrec sweep "configs/$name.yaml" "${budget[@]}" "$@" --output "$runs" --seeds 0,1,2 --jobs 2 --stages tokenize,sft,evaluate
}

sweep --grid tokenizer.method=rqvae,rqkmeans,balanced_rqkmeans,rqkmeans_plus,opq,letter,hybrid,shuffled,random
if [ -d "data/$name/indexes" ]; then
  sweep tokenizer.method=import --grid "tokenizer.index=$(ls "data/$name"/indexes/*/* | paste -sd,)"
fi
.venv/bin/python scripts/write_tokenizers.py "$name" "$runs"
