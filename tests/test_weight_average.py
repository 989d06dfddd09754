"""The moving average of the weights: what it is, and that it is judged and kept. Resuming: test_resume."""

from pathlib import Path

import pytest
import torch
import toy
from conftest import Ended
from safetensors.torch import load_file
from torch import nn
from transformers import TrainerControl, TrainerState, TrainingArguments

import sidrec
from sidrec.config import load_config
from sidrec.errors import ConfigError
from sidrec.trainers.averaging import WeightAverage
from sidrec.trainers.judged import JudgedByRanking
from sidrec.trainers.sft import SFTTrainer


def stepped(model: nn.Module, average: WeightAverage, steps: int, folder: Path) -> list[torch.Tensor]:
    """Change the weights so many times; return what they were after each."""
    arguments, generator = TrainingArguments(output_dir=str(folder)), torch.Generator().manual_seed(0)
    seen = []
    for step in range(1, steps + 1):
        with torch.no_grad():
            model.weight.copy_(torch.randn(model.weight.shape, generator=generator))
        average.on_step_end(arguments, TrainerState(global_step=step), TrainerControl())
        seen.append(model.weight.detach().clone())
    return seen


@pytest.mark.parametrize("decay", [0.5, 0.9])
def test_it_is_the_exponential_average_of_the_weights_with_a_short_memory_at_first(
    decay: float, tmp_path: Path
) -> None:
    model = nn.Linear(3, 2, bias=False)
    expected = model.weight.detach().clone()
    average = WeightAverage(model, decay)
    for step, weight in enumerate(stepped(model, average, 30, tmp_path), start=1):
        kept = min(decay, (1 + step) / (10 + step))
        expected = kept * expected + (1 - kept) * weight
    with average.in_place():
        torch.testing.assert_close(model.weight.detach(), expected)


def test_the_weights_are_their_own_again_after_they_were_judged(tmp_path: Path) -> None:
    model = nn.Linear(3, 2, bias=False)
    average = WeightAverage(model, 0.9)
    own = stepped(model, average, 5, tmp_path)[-1]
    with average.in_place():
        assert not torch.equal(model.weight, own)
    assert torch.equal(model.weight, own)


def test_what_is_not_trained_is_not_averaged(tmp_path: Path) -> None:
    model = nn.Linear(3, 2)
    model.bias.requires_grad_(False)
    average = WeightAverage(model, 0.9)
    average.save(tmp_path)
    assert list(torch.load(tmp_path / "weight_average.pt")) == ["weight"]


def test_sft_judges_and_writes_the_average(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last line of its metrics ranks with what lies on disk, which training never had as its weights."""
    own: list[torch.Tensor] = []
    judge = JudgedByRanking.judge

    def watched(self: SFTTrainer) -> dict[str, float]:
        own.append(self.model.get_input_embeddings().weight.detach().clone())
        return judge(self)

    monkeypatch.setattr(JudgedByRanking, "judge", watched)
    config = load_config(toy.write(tmp_path, sft={"weight_average": 0.9, "epochs": 4}))
    for stage in (sidrec.tokenize, sidrec.sft):
        stage(config)
    written = load_file(config.output / "sft" / "model.safetensors")["model.embed_tokens.weight"]
    *during, after = own
    assert during
    assert not any(torch.equal(written, weights) for weights in during)
    assert torch.equal(written, after)


def test_divided_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(JudgedByRanking, "is_to_divide", True)
    config = load_config(toy.write(tmp_path, sft={"weight_average": 0.9}))
    sidrec.tokenize(config)
    with pytest.raises(ConfigError, match=r"sft\.weight_average averages whole weights"):
        sidrec.sft(config)


@pytest.mark.parametrize("value", ["1", "-0.1", "much"])
def test_a_decay_that_is_none_is_refused(value: str, tmp_path: Path, command) -> None:
    ended: Ended = command("sft", toy.write(tmp_path), f"sft.weight_average={value}")
    assert ended.status == 2
    assert "sft.weight_average" in ended.err
