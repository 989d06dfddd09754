"""ReRe on TRL's `GRPOTrainer`.

trainer.py       ReReTrainer: the groups of a step, and what the Trainer is told
prompt_order.py  in which order prompts come
curriculum.py    which of them a step takes
drawing.py       G rollouts for each; drawn.py: putting them together
loss.py          what a step minimizes
imitation.py     the same prompts without rollouts: continued SFT
diagnostics.py   what a person watches, and when to worry
reward_watch.py  warnings about rewards
compute.py       what a step costs, in tokens
"""
