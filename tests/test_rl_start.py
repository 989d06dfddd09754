"""RL from a base model, and SFT that leaves RL something unseen."""

import json
from pathlib import Path

import pytest
import torch
import toy

import sidrec
from sidrec.artifacts import Stage
from sidrec.config import Config, load_config
from sidrec.errors import ArtifactError
from sidrec.sid_model import SIDModel
from sidrec.stages.rl import stage_of
from sidrec.stages.rl.prompts import rl_tasks
from sidrec.stages.rl.start import start_directory
from sidrec.stages.run import Run, load_run
from sidrec.stages.sft import _sid_model
from sidrec.stages.sft_tasks import check_sft


@pytest.fixture(scope="module")
def tokenized(young_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that ends before SFT: the path of a config for the rest."""
    folder = tmp_path_factory.mktemp("tokenized")
    toy.copy(young_run, folder, without=("sft", "rl", "evaluate"))
    return toy.write(folder, **toy.YOUNG)


def base_of(config: Config, run: Run, folder: Path) -> Path:
    stage = Stage(folder / "rl", "rl", {}, {}, config.seed)
    return start_directory(config, run, stage, rl_tasks(config, run.catalog))


def test_the_base_has_the_weights_that_sft_begins_with(tokenized: Path, tmp_path: Path) -> None:
    config = load_config(tokenized, ["rl.start=base"])
    run = load_run(config)
    base = SIDModel.load(base_of(config, run, tmp_path)).model.state_dict()
    for name, value in _sid_model(config, run, check_sft(config, run.catalog)).model.state_dict().items():
        assert torch.equal(base[name], value), name


def test_rl_from_a_base_needs_no_sft_and_is_compared_with_the_base(tokenized: Path) -> None:
    config = load_config(tokenized, ["rl.start=base", "rl.keep=rl"])
    sidrec.rl(config)
    metrics = json.loads((config.output / "rl" / "metrics.json").read_text())
    assert metrics["kept"] == "rl"
    assert set(metrics["ndcg@10"]) == {"base", "rl", "difference"}
    assert not (config.output / "sft").exists()
    rows = toy.history((config.output / "rl" / "history.csv").read_bytes())
    kl = [float(row["kl"]) for row in rows if row["kl"]]
    assert kl[0] == pytest.approx(0, abs=1e-6)  # the reference is the base
    sidrec.evaluate(config)
    evaluation = config.output / "evaluate" / "rl"
    measured = json.loads((evaluation / "metrics.json").read_text())
    assert measured["model"] == "rl"
    assert measured["training_cpu_seconds"] > 0
    items = (config.output / "rl" / "items.parquet").read_bytes()
    assert items == (config.output.parent / "run" / "rl" / "items.parquet").read_bytes()


def test_where_rl_from_a_base_is_no_better_the_base_is_kept(tokenized: Path, tmp_path: Path) -> None:
    config = load_config(
        tokenized, ["rl.start=base", "rl.steps=1", "rl.evaluations=1", "rl.learning_rate=1e-9"]
    )
    sidrec.rl(config)
    metrics = json.loads((config.output / "rl" / "metrics.json").read_text())
    assert metrics["kept"] == "base"
    base = base_of(config, load_run(config), tmp_path) / "model.safetensors"
    assert (config.output / "rl" / "model.safetensors").read_bytes() == base.read_bytes()
    assert not list((config.output / "rl").glob("checkpoints*"))


def test_the_start_is_part_of_what_rl_is_made_from(young_run: Path, young_config: Config) -> None:
    run = load_run(young_config)
    from_base, from_sft = (
        stage_of(
            young_config.model_copy(update={"rl": young_config.rl.model_copy(update={"start": start})}), run
        )
        for start in ("base", "sft")
    )
    assert "weights" in from_sft.inputs
    assert "weights" not in from_base.inputs
    assert from_base.settings["model"]["text_vocabulary_size"] == 300  # type: ignore[index]
    assert from_base.fingerprint != from_sft.fingerprint


def test_without_sft_rl_that_begins_from_it_is_refused(tokenized: Path, tmp_path: Path) -> None:
    toy.copy(tokenized.parent / "run", tmp_path, without=("rl", "evaluate"))
    with pytest.raises(ArtifactError, match=r"sft holds no finished stage\. Run first: sidrec sft"):
        sidrec.rl(load_config(toy.write(tmp_path, **toy.YOUNG)))


def test_rl_of_another_sft_is_refused_but_not_rl_of_a_base(tokenized: Path) -> None:
    """Beside `rl/` from a base an `sft/` may be trained at any time."""
    config = load_config(tokenized, ["rl.start=base", "rl.steps=1", "rl.evaluations=1"])
    sidrec.rl(config)
    sidrec.sft(config)
    assert {"sft", "rl"} <= {row.model for row in sidrec.evaluate(config)}


def test_held_out_prompts_are_those_that_sft_did_not_see(tokenized: Path, tmp_path: Path) -> None:
    toy.copy(tokenized.parent / "run", tmp_path, without=("sft", "rl", "evaluate"))
    path = toy.write(tmp_path, **toy.YOUNG, split={"rl_share": 0.5})
    settings = ["rl.prompts=held_out", "rl.tasks={next_item: 0.8, title_to_item: 0.2}", "rl.steps=2"]
    config = load_config(path, settings)
    sidrec.sft(config)
    sidrec.rl(config)
    metrics = json.loads((config.output / "rl" / "metrics.json").read_text())
    assert metrics["prompts"] == {"next_item": 30, "title_to_item": 24}  # of 60 users, of 24 items
    tasks = json.loads((config.output / "sft" / "metrics.json").read_text())["tasks"]
    # 60 users with four train items of three codes each, and of 30 of them an item less.
    assert tasks["next_item"]["supervised_tokens"] == 3 * (60 * 4 - 30)
    manifests = [json.loads((config.output / name / "manifest.json").read_text()) for name in ("sft", "rl")]
    assert manifests[0]["inputs"]["reserved"] == manifests[1]["inputs"]["reserved"]
    split = json.loads((tokenized.parent / "run" / "tokenize" / "manifest.json").read_text())
    assert split["inputs"]["catalog"] == manifests[0]["inputs"]["catalog"]
