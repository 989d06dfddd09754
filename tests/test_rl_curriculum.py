"""Curricula of RL: prompts are drawn until enough of them teach something, and missed ones come back."""

from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
from test_rl import HISTORIES, TARGETS, make_trainer, prompts, weights, worst_items

from sidrec.config import Config
from sidrec.objectives import Objective
from sidrec.rewards import RewardParts, Rollouts, combine_rewards
from sidrec.trainers.rl.curriculum import Curriculum, Drawn, draw_until_live, first_of


class Places:
    """An order whose row at a place is that place."""

    def stretch(self, start: int, count: int) -> list[dict[str, Any]]:
        return [{"place": place} for place in range(start, start + count)]


class Judge:
    """Rollouts 1 and 2 of each prompt; the target is 1 where the prompt is to be hit, else 9."""

    def __init__(self, *hits: int) -> None:
        self.hits = hits
        self.asked: list[list[int]] = []

    def __call__(self, rows: list[dict[str, Any]]) -> Drawn:
        places = [row["place"] for row in rows]
        self.asked.append(places)
        targets = torch.tensor([1 if place in self.hits else 9 for place in places])
        rollouts = Rollouts(torch.tensor([[1, 2]] * len(rows)), targets)
        rewards = combine_rewards(rollouts, {"rule": 1.0})
        return Drawn(rows, rollouts, rewards, Objective().live(rollouts, rewards.total))


def handed(start: int, number: int) -> list[dict[str, Any]]:
    return Places().stretch(start, number)


def places(drawn: Drawn) -> list[int]:
    return [row["place"] for row in drawn.rows]


def test_without_a_curriculum_a_batch_is_what_it_was_handed() -> None:
    judge = Judge()
    drawn = Curriculum("none").draw(handed(8, 4), Places(), judge)
    assert places(drawn) == [8, 9, 10, 11]
    assert judge.asked == [[8, 9, 10, 11]]
    assert Curriculum("none").stride(4) == 4


def test_live_draws_until_it_has_as_many_live_groups_as_it_was_handed() -> None:
    judge = Judge(16, 18, 20, 22, 24, 26, 28)  # every second one
    drawn = Curriculum("live", max_draws=4).draw(handed(16, 4), Places(), judge)
    # Two of four are live, so that two more want four prompts.
    assert judge.asked == [[16, 17, 18, 19], [20, 21, 22, 23]]
    assert drawn.live.tolist() == [True, False] * 4
    assert first_of(drawn.live, 4).tolist() == [True, False] * 4


def test_live_takes_the_first_of_more_live_groups_than_are_wanted() -> None:
    judge = Judge(3, 4, 5, 6, 7)  # one of four, then all
    drawn = Curriculum("live", max_draws=4).draw(handed(0, 4), Places(), judge)
    assert judge.asked == [[0, 1, 2, 3], list(range(4, 16))]  # three are missing: 3 * 4 / 1
    assert [place for place, kept in zip(places(drawn), first_of(drawn.live, 4), strict=True) if kept] == [
        *(3, 4, 5, 6)
    ]


def test_live_draws_at_most_max_draws_times_as_many() -> None:
    judge = Judge()
    drawn = Curriculum("live", max_draws=3).draw(handed(12, 4), Places(), judge)
    assert places(drawn) == list(range(12, 24))  # all that batch 1 owns
    assert not drawn.live.any()


def test_what_a_batch_draws_depends_on_no_other() -> None:
    first, second = Curriculum("live"), Curriculum("live")
    for batch in range(3):
        drawn = first.draw(handed(16 * batch, 4), Places(), Judge(17, 33, 40, 41, 42, 43))
    assert places(drawn) == places(second.draw(handed(32, 4), Places(), Judge(17, 33, 40, 41, 42, 43)))


def test_two_processes_draw_from_different_places() -> None:
    # A batch is 4 prompts, two for each process, and owns 12 places: 4 handed, then 4 for each.
    shares = [
        places(
            Curriculum("live", max_draws=3).draw(handed(12 + 2 * process, 2), Places(), Judge(), prompts=4)
        )
        for process in range(2)
    ]
    assert shares == [[12, 13, 16, 17, 18, 19], [14, 15, 20, 21, 22, 23]]


def test_a_missed_prompt_comes_back_once_after_some_batches() -> None:
    curriculum = Curriculum("replay", max_draws=2, replay_after=2)
    hits = set(range(200)) - {1, 2, 17}
    drawn = [curriculum.draw(handed(16 * batch, 8), Places(), Judge(*hits)) for batch in range(6)]
    # Batch 0 draws 0 to 7 and two more; 1 and 2 were missed, and two are a quarter of eight.
    assert places(drawn[0]) == [*range(8), 8, 9, *places(drawn[0])[10:]]
    assert places(drawn[2])[:8] == [1, 2, *range(32, 38)]  # in place of two new ones
    assert places(drawn[3])[:8] == [17, *range(48, 55)]
    assert places(drawn[4])[:8] == list(range(64, 72))  # missed again, and gone
    assert curriculum.returning == {}


def test_a_prompt_that_came_back_does_not_keep_its_place_from_the_order() -> None:
    curriculum = Curriculum("replay", max_draws=2, replay_after=1, returning={1: [3]})
    judge = Judge()
    curriculum.draw(handed(8, 4), Places(), judge)
    assert judge.asked == [[3, 8, 9, 10], [11, 12, 13, 14]]


def test_at_most_a_quarter_of_a_batch_comes_back() -> None:
    curriculum = Curriculum("replay", max_draws=2, replay_after=3)
    curriculum.draw(handed(0, 8), Places(), Judge())
    assert curriculum.returning == {3: [0, 1]}
    curriculum.draw(handed(16, 2), Places(), Judge())
    assert curriculum.returning == {3: [0, 1], 7: [16]}  # of two prompts one; they own four places


def test_replay_goes_on_from_what_was_saved(tmp_path: Path) -> None:
    curriculum = Curriculum("replay", returning={3: [0, 1], 4: [40]})
    curriculum.save(tmp_path)
    again = Curriculum("replay")
    again.load(tmp_path)
    assert again.returning == curriculum.returning


def test_prompts_end_before_enough_were_found() -> None:
    more = iter(handed(2, 1))
    drawn = draw_until_live(handed(0, 2), more, Judge(), most=8)
    assert places(drawn) == [0, 1, 2]


def test_drawings_of_something_unknown_are_not_joined() -> None:
    class Odd(Judge):
        def __call__(self, rows: list[dict[str, Any]]) -> Drawn:
            drawn = super().__call__(rows)
            odd = RewardParts(drawn.rewards.total, {"rule": object()})  # type: ignore[dict-item]
            return replace(drawn, rewards=odd)

    with pytest.raises(TypeError, match="object of several drawings cannot be joined"):
        draw_until_live(handed(0, 2), ({"place": place} for place in count(2)), Odd(), most=4)


def rows_half_dead(run: Path) -> Any:
    """Every second prompt has a target that no group reaches."""
    worst = worst_items(run)
    return prompts(HISTORIES, [worst[n] if n % 2 else target for n, target in enumerate(TARGETS)])


def test_a_live_step_trains_on_as_many_groups_as_were_asked_for(
    young_run: Path, young_config: Config, tmp_path: Path
) -> None:
    sizes = {}
    for kind in ("none", "live"):
        trainer = make_trainer(
            young_run,
            young_config,
            rows_half_dead(young_run),
            tmp_path / kind,
            curriculum=Curriculum(kind),  # type: ignore[arg-type]
            prompts_per_step=6,
            steps=2,
        )
        stretch = trainer._stream.stretch(0, 6)
        batch = trainer._generate_and_score_completions([row for row in stretch for _ in range(16)])
        sizes[kind] = (len(batch["codes"]), float(batch["live_share"]))
        drawn = trainer._metrics["train"]["drawn_prompts"][-1]
        assert (drawn > 6) == (kind == "live")
    assert sizes["live"] == (6, 1.0)
    assert sizes["none"][0] < 6
    assert sizes["none"][1] == pytest.approx(sizes["none"][0] / 6)


class Stopped(BaseException):
    """Goes through everything, as a kill does."""


@pytest.mark.parametrize("kind", ["live", "replay"])
def test_a_curriculum_that_was_stopped_goes_on_to_the_same_weights(
    kind: str, young_run: Path, young_config: Config, tmp_path: Path
) -> None:
    settings = {"prompts_per_step": 6, "steps": 6, "evaluations": 3, "learning_rate": 1e-3}

    def trainer(folder: str, after: int | None = None) -> Any:
        found = make_trainer(
            young_run,
            young_config,
            rows_half_dead(young_run),
            tmp_path / folder,
            curriculum=Curriculum(kind, replay_after=1),  # type: ignore[arg-type]
            **settings,
        )
        draw = found._draw
        found.asked = []

        def noted(rows: list[dict[str, Any]]) -> Drawn:
            if after is not None and len(found.asked) >= after:
                raise Stopped
            found.asked.append([row["place"] for row in rows])
            return draw(rows)

        found._draw = noted
        return found

    whole = trainer("whole")
    whole.train()
    stopped = trainer("stopped", after=5)
    with pytest.raises(Stopped):
        stopped.train()
    last = sorted((tmp_path / "stopped").glob("checkpoint-*"))[-1]
    again = trainer("stopped")
    again.train(resume_from_checkpoint=str(last))
    assert 0 < len(again.asked) < len(whole.asked)
    assert again.asked == whole.asked[-len(again.asked) :]
    assert again.state.num_input_tokens_seen == whole.state.num_input_tokens_seen > 0
    expected = weights(whole)
    for name, value in weights(again).items():
        assert torch.equal(value, expected[name]), name
    if kind == "replay":
        places_ = [place for asked in whole.asked for place in asked]
        assert len(set(places_)) < len(places_)  # some came back
