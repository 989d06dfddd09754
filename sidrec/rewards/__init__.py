"""Reward the rollouts of a group, and turn rewards into advantages.

Pure functions on tensors. A rollout is seen only as the item it names, an integer carried by the row together
with the target; nothing is looked up by text. How rollouts are drawn and what advantages are used for is left
to the trainer.
"""

from sidrec.rewards.advantages import group_advantages, leave_one_out_advantages
from sidrec.rewards.combine import REWARDS, RewardParts, check_rewards, combine_rewards
from sidrec.rewards.functions import ranking_reward, rule_reward
from sidrec.rewards.groups import dead_groups, group_hit_at_1, group_ndcg, preference_groups
from sidrec.rewards.rollouts import Rollouts

__all__ = [
    "REWARDS",
    "RewardParts",
    "Rollouts",
    "check_rewards",
    "combine_rewards",
    "dead_groups",
    "group_advantages",
    "group_hit_at_1",
    "group_ndcg",
    "leave_one_out_advantages",
    "preference_groups",
    "ranking_reward",
    "rule_reward",
]
