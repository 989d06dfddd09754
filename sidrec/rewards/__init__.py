"""Reward the rollouts of a group, and turn rewards into advantages.

Pure functions on tensors. A rollout is seen only as the item it names, an integer carried by the row together
with the target; nothing is looked up by text. How rollouts are drawn and what advantages are used for is left
to the trainer.
"""

from sidrec.rewards.advantages import group_advantages, leave_one_out_advantages
from sidrec.rewards.combine import REWARDS, Reward, RewardParts, check_rewards, combine_rewards
from sidrec.rewards.functions import ndcg_reward, ranking_reward, rule_reward
from sidrec.rewards.groups import dead_groups, group_hit_at_1, group_ndcg, preference_groups, ranked_mean
from sidrec.rewards.off_policy import importance_weights, weighted_advantages
from sidrec.rewards.own import OwnReward, load_reward
from sidrec.rewards.rollouts import Rollouts
from sidrec.rewards.tables import collaborative_reward, prefix_reward, semantic_reward

__all__ = [
    "REWARDS",
    "OwnReward",
    "Reward",
    "RewardParts",
    "Rollouts",
    "check_rewards",
    "collaborative_reward",
    "combine_rewards",
    "dead_groups",
    "group_advantages",
    "group_hit_at_1",
    "group_ndcg",
    "importance_weights",
    "leave_one_out_advantages",
    "load_reward",
    "ndcg_reward",
    "preference_groups",
    "prefix_reward",
    "ranked_mean",
    "ranking_reward",
    "rule_reward",
    "semantic_reward",
    "weighted_advantages",
]
