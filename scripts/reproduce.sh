#!/usr/bin/env bash
# What scripts/reproduce_*.sh have in common: reproduce.sh NAME reads configs/NAME.yaml and writes the section NAME
# of docs/results.md.
set -euo pipefail
name=$1
bin=.venv/bin
config=configs/$name.yaml
runs=runs/$name-seeds
seeds=0,1,2
# One thread per run, two runs side by side: the same figures whatever the number of cores.
export OMP_NUM_THREADS=1
sweep() { "$bin/sidrec" sweep "$config" --output "$runs" --jobs 2 "$@"; }

# All baselines, SFT and RL; and the same codes dealt to other items, and codes drawn at random.
sweep --seeds $seeds --grid tokenizer.method=rqvae,shuffled,random
# RL that is rewarded for the target of another prompt, from the same SFT.
sweep --seeds $seeds --grid rl.shuffle_targets=true --grid rl.keep=rl 'baselines.models=[]'
# The same models, with the items of the history left out of every list.
sweep --seeds $seeds --grid evaluation.exclude_history=true
"$bin/python" scripts/write_results.py "$name" "$runs"
