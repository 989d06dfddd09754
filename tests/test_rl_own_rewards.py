"""A user's own reward: found, tried before anything is trained, and checked at every step."""

import importlib
import sys
from pathlib import Path

import pytest
import torch

from sidrec.errors import ConfigError
from sidrec.rewards import Rollouts, combine_rewards, load_reward
from sidrec.rewards.own import OwnReward

GROUPS = Rollouts(torch.tensor([[0, 3], [1, 3]]), torch.tensor([3, 3]))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, forgotten by `sys.path` afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", list(sys.path))
    return tmp_path


def test_a_function_in_the_current_directory_is_a_reward(here: Path) -> None:
    (here / "mine_even.py").write_text("def even(rollouts):\n    return rollouts.items % 2 == 0\n")
    reward = load_reward("mine_even:even")
    reward.check(num_items=4, num_generations=3)
    assert reward(GROUPS).tolist() == [[1, 0], [0, 0]]
    assert reward(GROUPS).dtype == torch.float32
    found = combine_rewards(GROUPS, {"mine_even:even": 2.0}, {"mine_even:even": reward})
    assert found.total.tolist() == [[2, 0], [0, 0]]


def test_a_module_of_a_package_may_import_what_lies_beside_it(here: Path) -> None:
    (here / "mine_pack").mkdir()
    (here / "mine_beside.py").write_text("FACTOR = 3\n")
    (here / "mine_pack" / "inner.py").write_text(
        "def late(rollouts):\n    import mine_beside\n    return mine_beside.FACTOR * rollouts.hits.float()\n"
    )
    assert load_reward("mine_pack.inner:late")(GROUPS).tolist() == [[0, 3], [0, 3]]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (":f", r'":f" is no function of yours\. Write module:function, such as my_rewards:novelty'),
        ("mine:", r'"mine:" is no function of yours'),
        ("a:b:c", r'"a:b:c" is no function of yours'),
        ("mine_none:f", r"mine_none:f: there is no module mine_none installed or in .*\.$"),
        ("mine_there.py:f", r"there is no module mine_there\.py installed or in .*\. Leave out \.py\."),
        ("mine_there:novelti", r'mine_there has no function novelti .*Did you mean "novelty"\?'),
        ("mine_there:NUMBER", "mine_there:NUMBER is a int, expected a function of rollouts"),
        ("mine_broken:f", r"mine_broken:f: importing mine_broken raised SyntaxError: "),
        ("mine_needs:f", r"importing mine_needs raised ModuleNotFoundError: No module named 'not_there'"),
    ],
)
def test_what_is_no_function_is_refused_in_a_sentence(name: str, message: str, here: Path) -> None:
    (here / "mine_there.py").write_text("NUMBER = 3\ndef novelty(rollouts):\n    return rollouts.items\n")
    (here / "mine_broken.py").write_text("def f(:\n")
    (here / "mine_needs.py").write_text("import not_there\n")
    with pytest.raises(ConfigError, match=message):
        load_reward(name)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda r: r.items.tolist(), r"my:f returned a list, expected a tensor of shape \(2, 2\)"),
        (lambda r: r.targets, r"my:f returned a torch\.int64 tensor of shape \(2,\), expected a tensor of"),
        (
            lambda r: r.items.T[:1],
            r"tensor of shape \(1, 2\), expected a tensor of shape \(2, 2\), one reward",
        ),
        (lambda r: r.items.float().log().log(), "my:f returned NaN or infinity, expected finite rewards"),
        (lambda r: {}[5], r"my:f raised KeyError: 5 \(test_rl_own_rewards\.py, line \d+\)"),
    ],
)
def test_an_answer_that_is_no_reward_is_refused_in_a_sentence(function: object, message: str) -> None:
    reward = OwnReward("my:f", function)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=message):
        reward(GROUPS)
    with pytest.raises(ConfigError, match="my:f r"):
        reward.check(num_items=2, num_generations=4)


def test_a_reward_is_tried_on_items_of_the_catalogue_with_and_without_a_history() -> None:
    seen: list[Rollouts] = []

    def keep(rollouts: Rollouts) -> torch.Tensor:
        seen.append(rollouts)
        return rollouts.items

    OwnReward("my:f", keep).check(num_items=3, num_generations=4)
    assert seen[0].items.shape == (2, 4)
    assert seen[0].items.max() == seen[0].targets.max() == 2
    assert seen[0].histories == [[2], []]


def test_gradients_of_a_reward_are_not_kept() -> None:
    weight = torch.ones(1, requires_grad=True)
    reward = OwnReward("my:f", lambda rollouts: weight * rollouts.items)
    assert not reward(GROUPS).requires_grad


def test_the_hash_of_a_reward_is_that_of_the_file_it_is_named_by_and_the_one_it_comes_from(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    (here / "mine_first.py").write_text("from mine_second import f\n")
    (here / "mine_second.py").write_text("def f(rollouts):\n    return rollouts.items\n")

    def found() -> str:
        for module in ("mine_first", "mine_second"):
            sys.modules.pop(module, None)
        importlib.invalidate_caches()
        return load_reward("mine_first:f").source_hash()

    before = found()
    assert found() == before
    (here / "mine_second.py").write_text("def f(rollouts):\n    return 2 * rollouts.items\n")
    assert found() != before
    assert len(load_reward("math:floor").source_hash()) == 64
