#!/usr/bin/env bash
# The study of docs/rl.md: one switch of RL at a time, three seeds, against SFT and against SFT that goes on for as much.
# Usage: scripts/reproduce_rl.sh scientific_best. Four hours on 2 cores; stopped, it goes on where it was. Another config
# NAME needs marks NAME-held_out and NAME-seen in that page; with an LM head it takes a day.
set -euo pipefail
cd "$(dirname "$0")/.."
name=$1
# What that page measured was the recipe before items had vectors of their own in histories.
recipe=()
[ "$name" != scientific_best ] || recipe=(model.item_embedding=false sft.item_embedding=true sft.learning_rate=3e-3 sft.dropout=0.4
  sft.epochs=45 sft.evaluations=15)
export OMP_NUM_THREADS=1
# Two kinds of prompts: those of half the users that SFT has not seen, and targets that it has trained on.
for kind in held_out seen; do
  runs=runs/$name-rl/$kind
  share=0; [ $kind = seen ] || share=0.5
  sweep() {
    .venv/bin/sidrec sweep "configs/$name.yaml" "${recipe[@]}" split.rl_share=$share rl.prompts=$kind rl.keep=rl "baselines.models=[]" evaluation.rerank=0 \
      "rl.rewards={rule: 1, ranking: 1}" rl.learning_rate=2e-4 rl.steps=200 \
      --output "$runs" --seeds 0,1,2 --jobs 2 --stages tokenize,sft,rl,evaluate "$@"
  }
  # What RL has to beat: as many steps of cross entropy on the same prompts as cost no more tokens than that RL.
  continued() { grep -ho '"continued_sft_steps": [0-9]*' "$runs"/$1/seed=*/rl/metrics.json | sort -k2 -n | tail -1 | cut -d' ' -f2; }
  sweep --grid rl.sampling=beam,sample,dynamic,sample_without_replacement,mixed
  sweep "rl.steps=$(continued rl.sampling=beam)" --grid rl.objective=sft
  sweep --grid "rl.rewards={rule: 1},{rule: 1, ranking: 1, prefix: 1},{semantic: 1},{collaborative: 1},{rule: 1, collaborative: 3}"
  sweep --grid rl.objective=dr_grpo,rloo,s_dpo,dpo
  sweep rl.updates_per_batch=4 --grid rl.objective=gspo
  sweep --grid rl.num_generations=4,8,32
  sweep --grid rl.learning_rate=5e-5,1e-3
  sweep --grid rl.beta=0,0.2
  sweep --grid rl.prompts_per_step=256
  sweep --grid rl.curriculum=live
  sweep --grid rl.off_policy=importance
  sweep --grid rl.shuffle_targets=true
  # The best setting found on valid, and its rival.
  sweep --grid "rl.rewards={rule: 1, collaborative: 5}" --grid rl.learning_rate=1e-3 --grid rl.steps=400
  steps=$(continued "rl.rewards=*/rl.learning_rate=1e-3/rl.steps=400")
  sweep --grid rl.objective=sft --grid rl.learning_rate=1e-3 --grid "rl.steps=$steps"
  [ $kind = held_out ] || sweep rl.steps=1000 --grid rl.start=base
  .venv/bin/python scripts/write_rl.py "$name-$kind" "$runs"
done
