"""`rollouts.parquet`, and what of it is laid out for a terminal."""

import pandas as pd
import pytest
import torch
from task_rows import catalog_of

from sidrec.rewards import Rollouts, combine_rewards, group_advantages
from sidrec.stages.rl.samples import readable, rollouts_table

TITLES = ["Red lamp", "Blue chair", "Green rug", "Green rug", "Wall\nclock", "M" * 50, "Shelf"]
ROWS = [
    {"history": [6, 1, 0, 4, 5], "target": 3},
    {"history": [], "target": 6},
    {"history": [0], "target": 0},
]
# 2 and 3 have the same title; 0 is in the history of the third.
ITEMS = [[2, 3, 0, 1, 4, 5], [0, 1, 2, 3, 4, 5], [1, 2, 3, 4, 5, 0]]


@pytest.fixture
def table() -> pd.DataFrame:
    drawn = Rollouts(torch.tensor(ITEMS), torch.tensor([row["target"] for row in ROWS]))
    rewards = combine_rewards(drawn, {"rule": 1.0, "ndcg": 0.5})
    catalog = catalog_of({"title": TITLES, "text": TITLES})
    return rollouts_table(ROWS, drawn, rewards, group_advantages(rewards.total), catalog)


def test_a_line_per_rollout_has_its_group_rewards_and_advantage(table: pd.DataFrame) -> None:
    assert list(table.columns) == [
        *("group", "history", "target", "rank", "item_id", "title", "is_target"),
        *("reward_rule", "reward_ndcg", "reward", "advantage"),
    ]
    assert table["group"].tolist() == [0] * 6 + [1] * 6 + [2] * 6
    assert table["item_id"].tolist()[:6] == ["i2", "i3", "i0", "i1", "i4", "i5"]
    assert table["is_target"].tolist() == [place in (1, 17) for place in range(18)]  # not the other green rug
    # group 0: the target second: 1 + .5 / log2(3) = 1.31546 against five of 0: mean .21924; squares sum to
    # 1.44204, / 5 = .28841, deviation .53704; (1.31546 - .21924) / .53714 = 2.0408
    first = table.iloc[1]
    assert first[["reward_rule", "reward_ndcg"]].tolist() == pytest.approx([1, 0.63093], abs=1e-5)
    assert first[["reward", "advantage"]].tolist() == pytest.approx([1.31546, 2.0408], abs=1e-4)
    assert table["advantage"][6:12].tolist() == [0] * 6  # nothing in the second group tells them apart
    assert table["history"].tolist()[6] == ""


EXPECTED = """\
  history: 2 earlier | Red lamp | Wall clock | MMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMM...
  target:  Green rug
     rank  rollout     rule    ndcg    reward  advantage
  -  ----  ----------  ------  ------  ------  ---------
     1     Green rug   +0.000  +0.000  +0.000  -0.408
  *  2     Green rug   +1.000  +0.631  +1.315  +2.041
     3     Red lamp    +0.000  +0.000  +0.000  -0.408
     4     Blue chair  +0.000  +0.000  +0.000  -0.408
     5     Wall clock  +0.000  +0.000  +0.000  -0.408
  and 1 more

  history: Red lamp
  target:  Red lamp
     rank  rollout                                   rule    ndcg    reward  advantage
  -  ----  ----------------------------------------  ------  ------  ------  ---------
     1     Blue chair                                +0.000  +0.000  +0.000  -0.408
     2     Green rug                                 +0.000  +0.000  +0.000  -0.408
     3     Green rug                                 +0.000  +0.000  +0.000  -0.408
     4     Wall clock                                +0.000  +0.000  +0.000  -0.408
     5     MMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMM...  +0.000  +0.000  +0.000  -0.408
  *  6     Red lamp                                  +1.000  +0.356  +1.178  +2.041"""


def test_groups_with_the_target_are_shown_first_and_it_is_marked(table: pd.DataFrame) -> None:
    assert readable(table) == EXPECTED


def test_a_long_history_is_wrapped(table: pd.DataFrame) -> None:
    long = " | ".join(f"item number {n} of a history with long titles" for n in range(6))
    lines = readable(table[table["group"] == 0].assign(history=long)).splitlines()
    assert lines[0].startswith(
        "  history: 3 earlier | item number 3 of a history with long ... | item number 4"
    )
    assert lines[1].startswith("           ")
    assert max(map(len, lines)) <= 100


def test_a_prompt_without_a_history_says_so(table: pd.DataFrame) -> None:
    told = readable(table[table["group"] == 1])
    assert told.splitlines()[0] == "  history: none in this prompt"
    assert "*" not in told
