"""SFT that trains adapters or SID rows alone, from the command to recommendations, and how it goes on."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import toy
from conftest import Ended
from models import save_foreign_model
from safetensors.torch import load_file
from test_resume import results_of, stopped_after
from transformers import AutoModelForCausalLM

import sidrec
from sidrec.config import Config, load_config
from sidrec.inspection import inspect
from sidrec.sid_model import SIDModel
from sidrec.stages.run import weights_hash
from sidrec.stages.training import Validation

Command = Callable[..., Ended]
LORA = {"trainable": "lora", "lora": {"rank": 4, "alpha": 8, "dropout": 0.1}}
SID_ONLY = {"trainable": "sid_only"}
# 30 steps, 15 per epoch, a checkpoint after 10, 20 and 30.
SFT = {"epochs": 2, "evaluations": 3, "dropout": 0.1, "learning_rate": 3e-2, "weight_decay": 0.1}
RL = {"steps": 2, "evaluations": 1, "prompts_per_step": 8, "num_generations": 4, "keep": "rl"}
PARTS = ["lora-untied", "sid_only-tied"]  # the other two are in test_adapters


def settings(base: Path, part: str, **sft: object) -> dict[str, Any]:
    chosen = LORA if part.startswith("lora") else SID_ONLY
    return {
        "model": {"path": str(base)},
        "sft": {**SFT, **chosen, **sft},
        "rl": RL,
        "baselines": {"models": []},
    }


@pytest.fixture(scope="session")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("bases")
    return {
        tied: save_foreign_model(folder / tied, "qwen2", tie_word_embeddings=tied == "tied")
        for tied in ("tied", "untied")
    }


def in_run(tokenized: Path, folder: Path, **changes: Any) -> Config:
    """A config whose run has its semantic IDs already."""
    folder.mkdir(exist_ok=True)
    path = toy.write(folder, **changes)
    if not (folder / "run").exists():
        shutil.copytree(tokenized, folder / "run")
    return load_config(path)


@pytest.fixture(scope="session", params=PARTS)
def whole(
    request: pytest.FixtureRequest,
    bases: dict[str, Path],
    tokenized: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[str, Path]:
    """What is trained, and the output of an undisturbed SFT."""
    part = request.param
    folder = tmp_path_factory.mktemp(part)
    config = in_run(tokenized, folder, **settings(bases[part.split("-")[1]], part))
    sidrec.sft(config)
    return part, config.output


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def test_a_model_directory_holds_adapters_and_names_their_base(
    whole: tuple[str, Path], bases: dict[str, Path]
) -> None:
    part, output = whole
    names = {path.name for path in (output / "sft").iterdir()}
    assert {"adapter_model.safetensors", "adapter_config.json", "base.json", "prompts.json"} <= names
    assert not {"model.safetensors", "config.json"} & names
    assert read(output / "sft" / "base.json")["path"] == str(bases[part.split("-")[1]])
    held = load_file(output / "sft" / "adapter_model.safetensors")
    rows = [each for name, each in held.items() if "trainable_tokens" in name]
    assert [each.shape for each in rows] == [(12, 32)] * (1 if part.endswith("-tied") else 2)
    assert any("lora_A" in name for name in held) == part.startswith("lora")


def test_few_parameters_are_trained_and_the_metrics_say_how_many(whole: tuple[str, Path]) -> None:
    _, output = whole
    metrics = read(output / "sft" / "metrics.json")
    held = load_file(output / "sft" / "adapter_model.safetensors")
    assert metrics["trained_parameters"] == sum(each.numel() for each in held.values())
    assert metrics["parameters"] > 2 * metrics["trained_parameters"]


@pytest.mark.parametrize("checkpoint", [1, 3])
def test_a_stopped_training_goes_on_to_the_same_files(
    checkpoint: int, whole: tuple[str, Path], bases: dict[str, Path], tokenized: Path, tmp_path: Path
) -> None:
    part, output = whole
    config = in_run(tokenized, tmp_path, **settings(bases[part.split("-")[1]], part))
    with stopped_after(checkpoint):
        sidrec.sft(config)
    sidrec.sft(config)
    assert results_of(config.output / "sft") == results_of(output / "sft")


def test_the_best_checkpoint_is_what_is_written(
    bases: dict[str, Path], tokenized: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of three evaluations the second is said to be the best."""
    config = in_run(tokenized, tmp_path, **settings(bases["tied"], "lora"))
    scripted = [0.1, 0.9, 0.2]
    seen: list[list[bytes]] = []

    def judge(validation: Validation, *, divided: bool = True) -> dict[str, float]:
        trained = [each for each in validation._sid_model.model.parameters() if each.requires_grad]
        seen.append(sorted(each.detach().numpy().tobytes() for each in trained))
        return {"ndcg@10": scripted[min(len(seen), 3) - 1], "hr@10": 0.5}

    monkeypatch.setattr(Validation, "__call__", judge)
    sidrec.sft(config)
    written = load_file(config.output / "sft" / "adapter_model.safetensors").values()
    assert read(config.output / "sft" / "metrics.json")["best_step"] == 20
    assert sorted(each.numpy().tobytes() for each in written) == seen[1]
    assert seen[1] not in (seen[0], seen[2])


def ranked(config: Config, model: str = "sft"):
    histories = [[0, 1, 2], [5, 6], [20]]
    return SIDModel.load(config.output / model).rank(histories, num_beams=20)


def test_a_merged_model_is_a_plain_one_that_decodes_the_same(
    whole: tuple[str, Path], bases: dict[str, Path], tokenized: Path, tmp_path: Path
) -> None:
    part, output = whole
    config = in_run(tokenized, tmp_path, **settings(bases[part.split("-")[1]], part, merge=True))
    sidrec.sft(config)
    names = {path.name for path in (config.output / "sft").iterdir()}
    assert {"model.safetensors", "config.json"} <= names
    assert not {"adapter_model.safetensors", "adapter_config.json", "base.json"} & names
    assert (
        read(config.output / "sft" / "metrics.json")["valid"]
        == read(output / "sft" / "metrics.json")["valid"]
    )
    of_parts = SIDModel.load(output / "sft").rank([[0, 1, 2], [5, 6], [20]], num_beams=20)
    merged = ranked(config)
    assert merged.items.tolist() == of_parts.items.tolist()
    torch.testing.assert_close(merged.scores, of_parts.scores, atol=1e-5, rtol=0)
    plain = AutoModelForCausalLM.from_pretrained(config.output / "sft")
    ours = SIDModel.load(output / "sft").model
    ids = torch.tensor([[5, 6, 7]])
    torch.testing.assert_close(plain(ids).logits, ours(ids).logits, atol=1e-5, rtol=1e-5)


def test_training_in_memory_and_loading_from_disk_decode_the_same(whole: tuple[str, Path]) -> None:
    """Valid NDCG@10 of the unmerged model, as SFT measured it, and of the merged one."""
    from sidrec.stages.run import load_run
    from sidrec.stages.training import Validation

    _, output = whole
    config = load_config(output / "sft" / "config.yaml")
    validation = Validation(SIDModel.load(output / "sft"), load_run(config).split.valid, 1000, config)
    assert validation() == pytest.approx(read(output / "sft" / "metrics.json")["valid"])


def test_rl_evaluation_and_recommendations_start_from_adapters(
    whole: tuple[str, Path], bases: dict[str, Path], tmp_path: Path
) -> None:
    part, output = whole
    config = in_run(output, tmp_path, **settings(bases[part.split("-")[1]], part))
    sidrec.rl(config)
    sidrec.evaluate(config)
    assert len(sidrec.Recommender.from_pretrained(config.output).recommend(["i03"], k=24)) == 24
    assert len(sidrec.Recommender.from_pretrained(config.output / "sft").recommend(["i03"], k=24)) == 24
    assert (config.output / "rl" / "model.safetensors").is_file()
    assert all(state.problems == [] for state in inspect(config.output))


def test_rl_measures_its_kl_from_the_merged_model(
    whole: tuple[str, Path], bases: dict[str, Path], tmp_path: Path
) -> None:
    """At the first step the policy is the reference: TRL's own copy would be the base without SID rows."""
    part, output = whole
    changes = settings(bases[part.split("-")[1]], part)
    # Groups of all items hold the target, so that there is something to train on.
    changes["rl"] = {
        **RL,
        "num_generations": 24,
        "steps": 1,
        "learning_rate": 1e-9,
        "trainer": {"logging_steps": 1},
    }
    config = in_run(output, tmp_path, **changes)
    sidrec.rl(config)
    history = toy.history((config.output / "rl" / "history.csv").read_bytes())
    assert [float(row["kl"]) for row in history if row["kl"]] == pytest.approx([0], abs=1e-6)


def test_inspect_says_where_the_base_has_gone(
    tokenized: Path, bases: dict[str, Path], tmp_path: Path, command: Command
) -> None:
    shutil.copytree(bases["tied"], tmp_path / "base")
    config = in_run(tokenized, tmp_path, **settings(tmp_path / "base", "sid_only", epochs=0.2))
    sidrec.sft(config)
    assert command("inspect", config.output).status == 0
    (tmp_path / "base").rename(tmp_path / "elsewhere")
    message = "holds adapters to .*base, where no weights are now"
    [found] = [problem for state in inspect(config.output) for problem in state.problems]
    assert re.search(message, found)
    for arguments in (["recommend", config.output, "--history", "i01"], ["rl", tmp_path / "config.yaml"]):
        ended = command(*arguments)
        assert ended.status == 2
        assert re.search(message, ended.err)
        assert len(ended.err.strip().splitlines()) == 1


def test_another_base_makes_another_hash(tmp_path: Path) -> None:
    for name, sha in (("a", "1"), ("b", "2")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "adapter_model.safetensors").write_bytes(b"same")
        (tmp_path / name / "base.json").write_text(json.dumps({"path": "/m", "sha256": sha}))
    assert weights_hash(tmp_path / "a") != weights_hash(tmp_path / "b")


@pytest.mark.parametrize("whole", ["lora-untied"], indirect=True)
@pytest.mark.parametrize("other", [{"lora": {"rank": 2}}, {"trainable": "sid_only", "lora": {}}])
def test_a_checkpoint_of_other_adapters_is_thrown_away(
    other: dict[str, Any],
    whole: tuple[str, Path],
    bases: dict[str, Path],
    tokenized: Path,
    tmp_path: Path,
) -> None:
    """Stopped with others, then asked for what `whole` is: the files of `whole`."""
    part, output = whole
    with stopped_after(1):
        sidrec.sft(in_run(tokenized, tmp_path, **settings(bases["untied"], part, **other)))
    assert list((tmp_path / "run" / "sft.partial" / "checkpoints").iterdir())
    sidrec.sft(in_run(tokenized, tmp_path, **settings(bases["untied"], part)))
    assert results_of(tmp_path / "run" / "sft") == results_of(output / "sft")
