"""The stages together: what they write, what they redo, and that the same seed gives the same files."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import toy
from conftest import Ended
from models import small_model, text_tokenizer

import sidrec
from sidrec import Catalog
from sidrec.config import Config, load_config
from sidrec.stages.pipeline import run
from tokenizer.semantic_ids import SemanticIDs

MODEL = {
    "README.md",
    "config.json",
    "config.yaml",
    "generation_config.json",
    "items.parquet",
    "manifest.json",
    "metrics.json",
    "model.safetensors",
    "prompts.json",
    "semantic_ids.parquet",
    "tokenizer.json",
    "tokenizer_config.json",
}
OF_RL = {"rollouts.parquet", "history.csv", "history.png"}
EVALUATION = {"config.yaml", "manifest.json", "metrics.json", "predictions.parquet", "users.parquet"}


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def times(output: Path) -> dict[str, int]:
    """When each file of a run was written."""
    return {str(p.relative_to(output)): p.stat().st_mtime_ns for p in output.rglob("*") if p.is_file()}


def without_times(metrics: object) -> object:
    """The metrics but what depends on the machine."""
    if isinstance(metrics, dict):
        of_machine = ("seconds", "training_cpu_seconds", "peak_memory_mb", "step_time")
        kept = {k: v for k, v in metrics.items() if k not in of_machine}
        return {key: without_times(value) for key, value in kept.items()}
    return [without_times(each) for each in metrics] if isinstance(metrics, list) else metrics


def test_every_stage_writes_the_files_that_design_names(toy_run: Path) -> None:
    assert names(toy_run / "catalog") == {"items.parquet", "interactions.parquet"}
    assert names(toy_run / "tokenize") == {
        "config.yaml",
        "embedder.safetensors",
        "embeddings.npy",
        "health.png",
        "index.json",
        "manifest.json",
        "metrics.json",
        "semantic_ids.parquet",
        "tokenizer.safetensors",
    }
    assert names(toy_run / "sft") == MODEL | {"history.csv"}
    assert names(toy_run / "rl") == MODEL | OF_RL
    for directory in ("evaluate/sft", "evaluate/rl", "baselines/popularity"):
        assert names(toy_run / directory) == EVALUATION


def test_nothing_half_written_is_left_beside_the_stages(toy_run: Path) -> None:
    stages = {"baselines", "catalog", "evaluate", "rl", "sequential", "sft", "tokenize"}
    assert names(toy_run) == stages | {"cache"}
    assert names(toy_run / "evaluate") == {"sft", "rl"}
    assert names(toy_run / "baselines") == {"popularity", "item_knn", "sasrec"}
    assert names(toy_run / "sequential") == {"sasrec"}


def test_a_manifest_says_what_a_stage_was_made_from_and_what_it_cost(toy_run: Path) -> None:
    manifest = read(toy_run / "rl" / "manifest.json")
    assert manifest["stage"] == "rl"
    assert manifest["format_version"] == 1
    assert manifest["seed"] == 0
    assert manifest["versions"]["sidrec"] == sidrec.__version__
    assert {"torch", "transformers", "trl"} <= set(manifest["versions"])
    assert manifest["wall_seconds"] > 0
    assert manifest["peak_memory_mb"] > 0
    assert manifest["inputs"]["semantic_ids"] == SemanticIDs.load(toy_run / "rl/semantic_ids.parquet").sha256
    assert set(manifest["outputs"]) == MODEL - {"config.yaml", "manifest.json", "README.md"} | OF_RL


def test_the_metrics_of_tokenize_say_what_the_semantic_ids_are_worth(toy_run: Path) -> None:
    metrics = read(toy_run / "tokenize" / "metrics.json")
    assert metrics["items"] == 24
    assert metrics["collision_rate_before"] >= metrics["collision_rate_after"] == 0
    assert metrics["items_moved"] >= 0
    assert 0 < metrics["explained"] <= 1
    assert [level["codebook_size"] for level in metrics["levels"]] == [4, 4, 4]
    assert all(1 <= level["perplexity"] <= level["codes_used"] + 1e-6 for level in metrics["levels"])


@pytest.mark.parametrize(
    "name", ["evaluate/sft", "evaluate/rl", "baselines/popularity", "baselines/item_knn", "baselines/sasrec"]
)
def test_the_metrics_of_an_evaluation_have_the_keys_of_design(name: str, toy_run: Path) -> None:
    metrics = read(toy_run / name / "metrics.json")
    of_all = [
        "model",
        "split",
        "split_sha256",
        "users",
        "depth",
        "num_beams",
        "ranking",
        "exclude_history",
        "seed",
        "item_level",
        "sid_level",
        "invalid_items",
        "duplicate_items",
        "short_lists",
        "coverage@10",
        "gini@10",
        "novelty@10",
        "history_share@10",
        "diversity@10",
        "slices",
    ]
    assert list(metrics)[: len(of_all)] == of_all
    assert {"parameters", "training_cpu_seconds", "seconds", "peak_memory_mb"} <= set(metrics)
    if name.startswith("baselines"):
        assert {"settings", "valid", "trials"} <= set(metrics)
    assert (metrics["model"], metrics["split"], metrics["users"]) == (name.split("/")[1], "test", 60)
    assert (metrics["depth"], metrics["seed"]) == (10, 0)
    assert metrics["num_beams"] == (10 if name.startswith("evaluate") else None)
    assert set(metrics["item_level"]) == {f"{m}@{k}" for m in ("hr", "ndcg", "mrr") for k in (1, 3, 5, 10)}
    for interval in metrics["item_level"].values():
        assert 0 <= interval["low"] <= interval["value"] <= interval["high"] <= 1
    assert sum(each["users"] for each in metrics["slices"]["popularity"].values()) == 60


@pytest.mark.parametrize("name", ["evaluate/sft", "evaluate/rl", "baselines/popularity"])
def test_predictions_are_a_ranked_list_per_user(name: str, toy_run: Path) -> None:
    table = pd.read_parquet(toy_run / name / "predictions.parquet")
    assert list(table.columns) == ["user_id", "rank", "item_id", "score", "is_target"]
    assert table.groupby("user_id", sort=False).size().to_dict() == {f"u{n}": 10 for n in range(60)}
    of_u7 = table[table["user_id"] == "u7"]
    assert of_u7["rank"].tolist() == list(range(1, 11))
    assert of_u7["score"].is_monotonic_decreasing
    assert of_u7["item_id"].is_unique
    # u7 starts at item 7 and takes 6 items in turn: the last is item 12.
    assert (of_u7["item_id"] == "i12").tolist() == of_u7["is_target"].tolist()


def test_predictions_and_metrics_agree(toy_run: Path) -> None:
    table = pd.read_parquet(toy_run / "evaluate" / "rl" / "predictions.parquet")
    hits_in_3 = table[table["is_target"] & (table["rank"] <= 3)]
    hit_rate = read(toy_run / "evaluate" / "rl" / "metrics.json")["item_level"]["hr@3"]["value"]
    assert hit_rate == pytest.approx(len(hits_in_3) / 60)


def test_no_recommended_item_is_invalid_or_twice_in_a_list(toy_run: Path, young_run: Path) -> None:
    for output in (toy_run, young_run):
        for name in ("evaluate/sft", "evaluate/rl"):
            metrics = read(output / name / "metrics.json")
            assert (metrics["invalid_items"], metrics["duplicate_items"]) == (0, 0)


def test_sft_beats_popularity_on_the_toy(toy_run: Path) -> None:
    of_sft, of_popularity = (
        read(toy_run / name / "metrics.json")["item_level"]["ndcg@10"]
        for name in ("evaluate/sft", "baselines/popularity")
    )
    assert of_sft["low"] > of_popularity["high"]


def test_a_second_run_redoes_nothing(toy_run: Path, toy_config: Config) -> None:
    before = times(toy_run)
    run(toy_config)
    assert times(toy_run) == before


def test_a_resolved_config_fed_back_is_recognized_as_done(
    toy_run: Path, command: Callable[..., Ended]
) -> None:
    before = times(toy_run)
    for stage in ("tokenize", "baselines/popularity", "sft", "rl", "evaluate/rl"):
        assert command("run", toy_run / stage / "config.yaml").status == 0
    assert times(toy_run) == before


def test_another_setting_of_rl_redoes_rl_and_its_evaluation_alone(young_run: Path, tmp_path: Path) -> None:
    toy.copy(young_run, tmp_path)
    config = load_config(toy.write(tmp_path, **toy.YOUNG), ["rl.learning_rate=5e-4"])
    before = times(config.output)
    run(config)
    redone = {name for name, time in times(config.output).items() if before.get(name) != time}
    assert {str(Path(name).parent) for name in redone} == {"rl", "evaluate/rl"}


def test_stages_run_one_by_one_in_another_directory_give_the_files_of_a_whole_run(
    young_run: Path, tmp_path: Path, command: Callable[..., Ended]
) -> None:
    config = toy.write(tmp_path, **toy.YOUNG)
    for stage in ("tokenize", "sft", "rl", "evaluate", "baselines"):
        assert command(stage, config).status == 0
    alone, together = toy.contents(tmp_path / "run"), toy.contents(young_run)
    assert set(alone) == set(together)
    for name in alone:
        if name.endswith("metrics.json"):
            assert without_times(json.loads(alone[name])) == without_times(json.loads(together[name])), name
        elif name.endswith("history.csv"):
            assert toy.history(alone[name]) == toy.history(together[name])
        elif not name.endswith(("manifest.json", "config.yaml")):  # these name the directory and the time
            assert alone[name] == together[name], name


def test_another_seed_gives_other_weights(young_run: Path, tmp_path: Path) -> None:
    config = load_config(toy.write(tmp_path, **toy.YOUNG), ["seed=1"])
    sidrec.tokenize(config)
    sidrec.sft(config)
    weights = [(output / "sft" / "model.safetensors").read_bytes() for output in (config.output, young_run)]
    assert weights[0] != weights[1]


def test_the_table_at_the_end_has_a_line_per_model(toy_run: Path, command: Callable[..., Ended]) -> None:
    ended = command("run", toy_run / "rl" / "config.yaml")
    header, _, *lines = ended.out.splitlines()
    assert header.split() == ["model", "HR@10", "NDCG@10", "invalid", "duplicate", "coverage@10"]
    assert [line.split()[0] for line in lines] == ["popularity", "item_knn", "sasrec", "sft", "rl"]
    found = read(toy_run / "evaluate" / "rl" / "metrics.json")
    hit_rate = found["item_level"]["hr@10"]
    cells = lines[-1].split()
    assert float(cells[1]) == round(hit_rate["value"], 4)
    assert cells[-3:] == ["0", "0", f"{found['coverage@10']:.3f}"]


def test_tables_can_be_handed_over_in_python(young_config: Config, young_run: Path, tmp_path: Path) -> None:
    raw = young_config.model_dump(mode="json") | {"output": str(tmp_path / "run"), "catalog": {}}
    config = Config.model_validate(raw)
    catalog = Catalog(toy.items(), toy.interactions(), text="{title}. {description}")
    sidrec.tokenize(config, catalog=catalog)
    sidrec.sft(config)
    for name in ("tokenize/semantic_ids.parquet", "sft/model.safetensors"):
        assert (config.output / name).read_bytes() == (young_run / name).read_bytes()


def test_own_vectors_are_used_as_they_are(tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).normal(size=(24, 6)).astype(np.float32)
    np.save(tmp_path / "own.npy", vectors)
    path = toy.write(tmp_path)
    config = load_config(path, [f"embedding.path={tmp_path / 'own.npy'}"])
    sidrec.tokenize(config)
    np.testing.assert_array_equal(np.load(config.output / "tokenize" / "embeddings.npy"), vectors)


def test_other_vectors_under_the_same_name_redo_tokenize(tmp_path: Path) -> None:
    config = load_config(
        toy.write(tmp_path), [f"embedding.path={tmp_path / 'own.npy'}", "tokenizer.epochs=1"]
    )
    for seed in (0, 1):
        np.save(tmp_path / "own.npy", np.random.default_rng(seed).normal(size=(24, 6)))
        sidrec.tokenize(config)
        kept = np.load(config.output / "tokenize" / "embeddings.npy")
        np.testing.assert_allclose(kept, np.load(tmp_path / "own.npy"), rtol=1e-6)


def test_a_catalogue_put_aside_by_an_interrupted_run_of_another_comes_back(
    toy_run: Path, tmp_path: Path
) -> None:
    """Killed between writing the catalogue and finishing, tokenize of another one leaves its tables there."""
    config = load_config(toy.copy(toy_run, tmp_path))
    other = Catalog(toy.items().iloc[::-1].reset_index(drop=True), toy.interactions())
    other.save(config.output / "catalog")
    sidrec.tokenize(config)
    assert Catalog.load(config.output / "catalog").sha256 == Catalog.load(toy_run / "catalog").sha256


def test_a_model_of_ones_own_goes_through_every_stage(tmp_path: Path) -> None:
    small_model("qwen2", vocab_size=300).save_pretrained(tmp_path / "qwen2")
    text_tokenizer().save_pretrained(tmp_path / "qwen2")
    config = load_config(
        toy.write(tmp_path, sft={"epochs": 1, "evaluations": 1}, rl={"steps": 1, "evaluations": 1}),
        [f"model.path={tmp_path / 'qwen2'}", "tokenizer.epochs=2"],
    )
    rows = run(config)
    assert [row.model for row in rows] == ["popularity", "item_knn", "sasrec", "sft", "rl"]
    assert [(row.invalid, row.duplicates) for row in rows] == [(0, 0)] * 5
    assert read(config.output / "rl" / "config.json")["architectures"] == ["Qwen2ForCausalLM"]
    prompts = read(config.output / "rl" / "prompts.json")
    assert (prompts["template"], prompts["normalization"]) == ("instruct", "vocabulary")
    assert len(sidrec.Recommender.from_pretrained(config.output).recommend(["i03"], k=24)) == 24


def test_a_config_of_relative_paths_works_from_its_directory(
    tmp_path: Path, command: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    toy.write(tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "five.yaml").write_text(
        "output: runs/five\ncatalog:\n  items: items.csv\n  interactions: interactions.csv\n"
        "tokenizer: {codebook_sizes: [8, 8], epochs: 2}\n"
    )
    assert command("tokenize", "five.yaml").status == 0
    assert command("sft", "five.yaml", "sft.epochs=0.1").status == 0
    assert (tmp_path / "runs" / "five" / "sft" / "model.safetensors").is_file()


def test_a_run_without_baselines_and_models_has_no_table(
    tmp_path: Path, command: Callable[..., Ended]
) -> None:
    path = toy.write(tmp_path, baselines={"models": []})
    assert command("tokenize", path).status == 0
    ended = command("baselines", path)
    assert (ended.status, ended.out) == (0, "")
