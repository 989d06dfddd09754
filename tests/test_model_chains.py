"""Models that read or tell an item otherwise than a plain LM does, through all stages: no second pipeline."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import toy
from conftest import Ended
from models import KINDS, save_foreign_model
from test_resume import trained
from test_rl import HISTORIES, TARGETS, groups_of, make_trainer, prompts
from test_trained_parts import LORA, SID_ONLY
from transformers import AutoModelForCausalLM, Qwen3ForCausalLM

import sidrec
from sidrec.config import Config, load_config
from sidrec.scoring import SIDScorer
from sidrec.shared_prefix import completion_scores
from sidrec.sid_model import SIDModel
from sidrec.trainers.sft import target_losses

FEW = {"epochs": 2, "evaluations": 2, "dropout": 0.1}
PARTS: list[tuple[str, dict[str, Any]]] = [
    ("qwen2", LORA),
    ("llama", SID_ONLY),
    ("qwen3", {**LORA, "merge": True}),
]


@dataclass(frozen=True)
class Chain:
    """A way to read or to tell an item.

    Attributes:
        settings: That ask for it.
        is_used: Whether a scorer does so.
        others: The settings that are refused beside it say to use these.
        switched_off: What `prompts.json` says of it, and of a plain model; None: it has weights of its own.
        sft: More settings of SFT that are tried with it.
        wholes: Kinds of models on disk that are trained whole.
    """

    settings: dict[str, dict[str, Any]]
    is_used: Callable[[SIDScorer], bool]
    others: str
    switched_off: tuple[str, str] | None = None
    sft: dict[str, Any] = field(default_factory=dict)
    wholes: tuple[str, ...] = ()

    def config(self, tokenized: Path, folder: Path, **changes: Any) -> Config:
        """A config of this way beside a run that is tokenized."""
        for section, values in self.settings.items():
            changes[section] = values | changes.get(section, {})
        path = toy.write(folder, **changes)
        shutil.copytree(tokenized, folder / "run")
        return load_config(path)


CHAINS = {
    "depth": Chain(
        {"model": {"head": "depth"}},
        lambda scorer: scorer.sums_codes,
        "model.head=lm",
        sft={"item_loss": 0.5, "weight_average": 0.9},
        wholes=tuple(KINDS),
    ),
    "merged": Chain(
        {"prompt": {"history": "merged"}},
        lambda scorer: scorer.merger is not None,
        "prompt.history=codes",
        switched_off=('"history": "merged"', '"history": "codes"'),
        sft={"item_loss": 0.5},
        wholes=("gpt2",),
    ),
    "skip": Chain(
        {"model": {"skip_connection": True}},
        lambda scorer: scorer.skips,
        "model.head=lm",
        switched_off=('"skip_connection": true', '"skip_connection": false'),
        sft={"item_loss": 0.5},
        wholes=("gpt2",),
    ),
}


@pytest.fixture(scope="module", params=CHAINS)
def chain(request: pytest.FixtureRequest) -> Chain:
    return CHAINS[request.param]


@pytest.fixture(scope="module")
def run(chain: Chain, tokenized: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A preset that was trained so on the toy catalogue, by SFT and RL."""
    folder = tmp_path_factory.mktemp("chain")
    config = chain.config(tokenized, folder, sft={"epochs": 30, **chain.sft}, rl={"keep": "rl"})
    for stage in (sidrec.sft, sidrec.rl, sidrec.evaluate):
        stage(config)
    return config.output


def test_it_learns_that_an_item_is_followed_by_the_next(run: Path) -> None:
    metrics = json.loads((run / "evaluate" / "sft" / "metrics.json").read_text())
    assert metrics["item_level"]["hr@3"]["value"] > 0.8  # 0.13 by chance


def test_what_was_saved_ranks_as_what_was_trained(run: Path, chain: Chain) -> None:
    model = SIDModel.load(run / "rl")
    assert chain.is_used(model.scorer)
    found = model.rank([[3, 4, 5], [20]], num_beams=24)
    exact = model.rank([[3, 4, 5], [20]], num_beams=24, ranking="exact")
    assert torch.equal(found.items, exact.items)
    assert sorted(found.items[0].tolist()) == list(range(24))


def test_the_loss_of_a_target_is_its_score_in_a_search(run: Path) -> None:
    model = SIDModel.load(run / "sft")
    histories, targets = [[3, 4, 5], [20]], np.array([6, 2])
    found = model.rank(histories, num_beams=24)
    scores = found.scores[found.items == torch.tensor(targets)[:, None]]
    torch.testing.assert_close(target_losses(model, histories, targets), -scores, atol=1e-4, rtol=1e-4)


def test_a_new_item_can_be_recommended(run: Path, tmp_path: Path) -> None:
    output = shutil.copytree(run, tmp_path / "run")
    new = toy.items().iloc[[4]].assign(item_id="new", title="green chair the second")
    sidrec.add_items(output, new)
    items = sidrec.Recommender.from_pretrained(output / "rl").recommend(["i02", "i03"], k=25)
    assert "new" in [each.item_id for each in items]


def test_rl_compares_with_a_reference_that_reads_items_so_too(
    run: Path, chain: Chain, tmp_path: Path
) -> None:
    config = load_config(run / "sft" / "config.yaml")
    trainer = make_trainer(run, config, prompts(HISTORIES, TARGETS), tmp_path)
    made = trainer._generate_and_score_completions(groups_of(trainer)[:16])
    assert len(made["codes"])
    scorer = trainer._sid_model.scorer
    assert chain.is_used(scorer)
    policy = completion_scores(scorer, made["prompt_ids"], made["prompt_mask"], made["codes"])
    torch.testing.assert_close(made["ref_per_token_logps"], policy.log_probs, atol=1e-5, rtol=1e-5)


def test_the_weights_are_those_of_a_plain_model_which_would_rank_otherwise(
    run: Path, chain: Chain, tmp_path: Path
) -> None:
    if chain.switched_off is None:
        pytest.skip("it has weights of its own")
    assert type(AutoModelForCausalLM.from_pretrained(run / "sft")) is Qwen3ForCausalLM
    other = shutil.copytree(run / "sft", tmp_path / "other", ignore=shutil.ignore_patterns("manifest.json"))
    settings = other / "prompts.json"
    assert chain.switched_off[0] in settings.read_text()
    settings.write_text(settings.read_text().replace(*chain.switched_off))
    right, plain = (SIDModel.load(path).rank([[3, 4, 5]], num_beams=5) for path in (run / "sft", other))
    assert not torch.allclose(right.scores, plain.scores, atol=1e-3)


@pytest.mark.parametrize("name", CHAINS)
def test_a_stopped_training_goes_on_to_the_same_files(name: str, tokenized: Path, tmp_path: Path) -> None:
    settings = FEW | CHAINS[name].sft
    whole, stopped = (
        CHAINS[name].config(tokenized, tmp_path / each, sft=settings) for each in ("whole", "stopped")
    )
    assert trained(stopped, is_stopped=True) == trained(whole, is_stopped=False)


@pytest.mark.parametrize(
    ("name", "kind", "part"),
    [
        pytest.param(name, kind, part, id=f"{name}, {kind}, {part}")
        for name, chain in CHAINS.items()
        for kind, part in [*((whole, {}) for whole in chain.wholes), *PARTS]
    ],
)
def test_a_model_from_disk_is_trained_whole_or_in_part(
    name: str, kind: str, part: dict[str, Any], tokenized: Path, tmp_path: Path
) -> None:
    base = save_foreign_model(tmp_path / "base", kind, tie_word_embeddings=kind != "llama")
    settings = {**FEW, "learning_rate": 3e-2, **part}
    config = CHAINS[name].config(tokenized, tmp_path / "run", model={"path": str(base)}, sft=settings)
    sidrec.sft(config)
    loaded = SIDModel.load(config.output / "sft")
    metrics = json.loads((config.output / "sft" / "metrics.json").read_text())
    assert loaded.prompts.settings.template == "instruct"
    assert CHAINS[name].is_used(loaded.scorer)
    ndcg, loss = judged(config, loaded)
    assert metrics["valid"]["ndcg@10"] == pytest.approx(ndcg, abs=1e-6)
    assert metrics["valid_loss"] == pytest.approx(loss, abs=1e-4)


def judged(config: Config, model: SIDModel) -> tuple[float, float]:
    """NDCG@10 and loss of the valid users."""
    from sidrec.stages.run import load_run
    from sidrec.stages.training import Validation

    run = load_run(config)
    validation = Validation(model, run.split.valid, config.sft.validation_users, config)
    return validation()["ndcg@10"], validation.loss()


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("depth", "model.identifiers=title", "names items by tokens of text"),
        ("depth", "prompt.last_token=sum", "says what an item's last token is read as"),
        ("depth", "sft.loss=vocabulary", "compares codes with all tokens"),
        ("depth", "rl.logprobs=vocabulary", "compares codes with all tokens"),
        ("merged", "model.identifiers=title", "names items by tokens of text"),
        ("merged", "prompt.last_token=sum", "has the last token of an item stand for it"),
        ("merged", "model.head=depth", "reads an item as one position by itself"),
        ("skip", "model.head=depth", "adds to states of an item's tokens"),
    ],
)
def test_what_does_not_go_with_it_is_refused(
    name: str, settings: str, said: str, tokenized: Path, tmp_path: Path, command: Callable[..., Ended]
) -> None:
    config = CHAINS[name].config(tokenized, tmp_path / "a")
    ended: Ended = command("sft", str(config.output.parent / "config.yaml"), settings)
    assert ended.status == 2
    assert said in ended.err
    assert CHAINS[name].others in ended.err
    assert not (config.output / "sft").exists()


def test_a_skip_connection_needs_later_codes(tmp_path: Path, command: Callable[..., Ended]) -> None:
    one_code = {"codebook_sizes": [32], "method": "rqkmeans"}
    path = toy.write(tmp_path, tokenizer=one_code, model={"skip_connection": True})
    assert command("tokenize", str(path)).status == 0
    ended: Ended = command("sft", str(path))
    assert ended.status == 2
    assert "model.skip_connection=true would change nothing: every item has one code" in ended.err
    assert not (tmp_path / "run" / "sft").exists()


def test_a_recurrent_model_is_refused(tokenized: Path, tmp_path: Path, command: Callable[..., Ended]) -> None:
    base = save_foreign_model(tmp_path / "base", "mamba", state_size=4)
    config = CHAINS["merged"].config(tokenized, tmp_path / "a", model={"path": str(base)})
    ended: Ended = command("sft", str(config.output.parent / "config.yaml"))
    assert ended.status == 2
    assert "prompt.history=merged: MambaForCausalLM" in ended.err
