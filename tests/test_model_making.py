"""What `sft` refuses of a model before it trains one, and what makes training faster or smaller."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import toy
from conftest import Ended
from models import save_foreign_model, small_model

import sidrec
from sidrec.config import load_config
from sidrec.sections import SFTConfig
from sidrec.stages.model_making import compile_if_asked, compile_training, model_of, speed_arguments
from sidrec.stages.run import load_run
from sidrec.stages.sft import _training_arguments
from tokenizer.model_file import open_model

Command = Callable[..., Ended]


def refused(ended: Ended, message: str) -> None:
    assert ended.status == 2
    assert re.search(message, ended.err), ended.err
    assert len(ended.err.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["sft.trainable=lora"], r"sft\.trainable=lora trains a few weights .* Set model\.path"),
        (["sft.trainable=sid_only"], r"sft\.trainable=sid_only trains a few weights .* Set model\.path"),
        (["sft.sid_init=text"], r"sft\.sid_init=text begins with what the model knows of words"),
        (["sft.merge=true"], r"merge is for trainable=lora or sid_only"),
        (["sft.load_in_4bit=true"], r"load_in_4bit is for trainable=lora"),
        (["sft.lora.rank=8"], r"lora changes nothing unless trainable is lora"),
        (["sft.trainable=sid_only", "sft.lora.rank=8"], r"lora changes nothing unless trainable is lora"),
        (["sft.trainer={bf16: true}"], r"bf16 is set by sidrec; use the options of the section"),
        (["sft.trainer={torch_compile: true}"], r"torch_compile is set by sidrec"),
    ],
)
def test_settings_that_make_no_sense_together_are_refused(
    settings: list[str], message: str, toy_run: Path, tmp_path: Path, command: Command
) -> None:
    config = toy.copy(toy_run, tmp_path, without=("rl", "evaluate"))
    before = toy.contents(tmp_path)
    refused(command("sft", config, *settings), message)
    assert toy.contents(tmp_path) == before


def test_a_whole_run_refuses_them_before_anything_is_made(tmp_path: Path, command: Command) -> None:
    refused(command("run", toy.write(tmp_path), "sft.trainable=lora"), r"sft\.trainable=lora trains a few")
    assert not (tmp_path / "run").exists()


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return save_foreign_model(tmp_path / "base")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["sft.lora.target_modules=[nothing]"], r'has no linear layer "nothing" .* There are: down_proj'),
        (
            ["sft.load_in_4bit=true"],
            r"sft\.load_in_4bit needs a CUDA GPU and the package bitsandbytes, which",
        ),
    ],
)
def test_adapters_that_cannot_be_had_are_refused_and_leave_nothing(
    settings: list[str], message: str, base: Path, toy_run: Path, tmp_path: Path, command: Command
) -> None:
    if torch.cuda.is_available():
        pytest.skip("4 bits can be had here")
    config = toy.copy(toy_run, tmp_path, without=("rl", "evaluate"))
    before = toy.contents(tmp_path)
    refused(command("sft", config, f"model.path={base}", "sft.trainable=lora", *settings), message)
    assert toy.contents(tmp_path) == before


def test_a_model_path_without_weights_is_refused(base: Path, toy_run: Path, tmp_path: Path, command: Command):
    config = toy.copy(toy_run, tmp_path)
    (base / "model.safetensors").unlink()
    refused(command("sft", config, f"model.path={base}", "sft.trainable=lora"), r"holds no weights")
    refused(command("sft", config, f"model.path={base}"), r"could not be loaded as a causal language model")


def test_semantic_ids_without_code_vectors_cannot_begin_at_them(tmp_path: Path, command: Command) -> None:
    path = toy.write(tmp_path, tokenizer={"method": "random"}, sft={"sid_init": "codebook"})
    assert command("tokenize", path).status == 0
    refused(command("sft", path), r"sft\.sid_init=codebook needs code vectors, but the semantic IDs of .*run")


def test_rows_begin_at_the_code_vectors_of_the_run(toy_run: Path, tmp_path: Path) -> None:
    config = load_config(toy.copy(toy_run, tmp_path), ["sft.sid_init=codebook"])
    run = load_run(config)
    model, text_tokenizer = model_of(config, run, max_positions=64)
    books = open_model(toy_run / "tokenize" / "tokenizer.safetensors").codebooks()
    ids = text_tokenizer.convert_tokens_to_ids([f"<a_{code}>" for code in range(4)])
    weight = model.get_input_embeddings().weight.detach()
    rows = (weight[ids] - weight[: min(ids)].mean(0)).numpy()
    unit, vectors = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in (rows, books[0]))
    np.testing.assert_allclose(unit @ unit.T, vectors @ vectors.T, atol=1e-3)


def test_another_tokenizer_file_is_another_training(toy_run: Path, tmp_path: Path) -> None:
    """The same codes with other code vectors begin elsewhere, if they begin at them."""
    from sidrec.stages.sft import stage_of

    config = load_config(toy.copy(toy_run, tmp_path))
    plain = config.model_copy()
    begun = load_config(tmp_path / "config.yaml", ["sft.sid_init=codebook"])
    before = [stage_of(each, load_run(each)).fingerprint for each in (plain, begun)]
    with (tmp_path / "run" / "tokenize" / "tokenizer.safetensors").open("ab") as file:
        file.write(b" ")
    after = [stage_of(each, load_run(each)).fingerprint for each in (plain, begun)]
    assert before[0] == after[0]
    assert before[1] != after[1]


def losses(config_path: Path, *overrides: str) -> list[float]:
    config = load_config(config_path, [*overrides, "sft.epochs=1", "sft.evaluations=7", "sft.dropout=0"])
    sidrec.sft(config)
    return [float(row["loss"]) for row in toy.history((config.output / "sft" / "history.csv").read_bytes())]


def test_bf16_acts_and_gradient_checkpointing_changes_no_loss(toy_run: Path, tmp_path: Path) -> None:
    config = toy.copy(toy_run, tmp_path, without=("sft", "rl", "evaluate"))
    whole = losses(config)
    assert losses(config, "sft.gradient_checkpointing=true") == pytest.approx(whole, rel=1e-5)
    rough = losses(config, "sft.bf16=true")
    assert rough != pytest.approx(whole, rel=1e-5)
    assert rough == pytest.approx(whole, rel=0.02)


def test_bf16_on_a_cpu_is_said_to_be_a_matter_of_the_processor(caplog: pytest.LogCaptureFixture) -> None:
    section = SFTConfig(bf16=True)
    assert speed_arguments(section, torch.device("cpu"))["bf16"] is True
    assert speed_arguments(section, torch.device("cuda"))["bf16"] is True
    said = [record.message for record in caplog.records]
    assert said == [
        "sft.bf16 is on: whether bfloat16 is faster than float32 depends on the CPU; compare tokens/s"
    ]


def test_compile_is_left_out_on_a_cpu_with_a_line(caplog: pytest.LogCaptureFixture) -> None:
    model = small_model()
    before = model.base_model.forward
    compile_if_asked(model, SFTConfig(compile=True))
    assert model.base_model.forward == before
    said = [record.message for record in caplog.records]
    assert said == ["sft.compile is left out: torch.compile does not pay on a CPU"]


def test_training_passes_are_compiled_and_no_others() -> None:
    model = small_model()
    names, ids = list(model.state_dict()), torch.tensor([[5, 6, 7]])
    expected = model(ids).logits
    graphs = []

    def backend(graph: torch.fx.GraphModule, _: object) -> Callable[..., Any]:
        graphs.append(graph)
        return graph.forward

    compile_training(model, backend)
    torch.testing.assert_close(model.eval()(ids).logits, expected)
    assert graphs == []
    torch.testing.assert_close(model.train()(ids).logits, expected)
    assert graphs
    assert list(model.state_dict()) == names


def test_nothing_is_said_of_what_is_off(caplog: pytest.LogCaptureFixture) -> None:
    compile_if_asked(small_model(), SFTConfig())
    assert speed_arguments(SFTConfig(), torch.device("cpu")) == {}
    assert caplog.records == []


def test_the_speed_settings_reach_the_trainer(tmp_path: Path) -> None:
    config = load_config(toy.write(tmp_path), ["sft.bf16=true", "sft.gradient_checkpointing=true"])
    arguments = _training_arguments(config, 100, tmp_path / "checkpoints")
    assert (arguments.bf16, arguments.gradient_checkpointing) == (True, True)
    assert arguments.gradient_checkpointing_kwargs == {"use_reentrant": False}
