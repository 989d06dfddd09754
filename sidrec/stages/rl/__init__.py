"""Stage `rl`: ReRe, from the aligned model of `sft`, or from the one before it.

stage.py          rl: what is read, trained, compared and written
arguments.py      what TRL's trainer is told
prompts.py        the prompts and their targets
rewards.py        the rewards of a run
start.py          the model that RL begins from
decision.py       whether RL made it better
samples.py        groups that a person can read; figure.py: the training as a picture
continued_sft.py  the control that costs as much
"""

from sidrec.stages.rl.stage import check_rl, make_drawing, rl, stage_of, stages_of

__all__ = ["check_rl", "make_drawing", "rl", "stage_of", "stages_of"]
