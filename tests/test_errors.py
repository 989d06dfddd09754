"""What a user can get wrong: one clear sentence, exit status 2, and nothing half-written."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import toy
from conftest import Ended
from models import small_model, text_tokenizer
from safetensors.torch import load_file, save_file

from sidrec.cli import main

Command = Callable[..., Ended]
ITEMS = "item_id,title\nA,Red lamp\nB,Blue lamp\nC,Green rug\n"
EVENTS = "user_id,item_id,timestamp\nu1,A,1\nu1,B,2\nu1,C,3\n"
FAST = ["tokenizer.codebook_sizes=[2,2]", "tokenizer.epochs=1", "tokenizer.hidden_dims=[4]"]


def assert_refused(ended: Ended, message: str) -> None:
    """One sentence on standard error, which `message` (a regular expression) is part of, and status 2."""
    assert ended.err.startswith("sidrec: ")
    assert ended.err.count("\n") == 1
    assert re.search(message, ended.err), ended.err
    assert (ended.status, ended.out) == (2, "")


def tables(
    folder: Path, items: str | bytes = ITEMS, events: str | bytes = EVENTS, form: str = "csv"
) -> list[str]:
    """Write two tables; return the arguments that name them, and an output beside them."""
    paths = [folder / f"items.{form}", folder / f"events.{form}"]
    for path, content in zip(paths, (items, events), strict=True):
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    settings = [f"catalog.items={paths[0]}", f"catalog.interactions={paths[1]}", f"output={folder / 'run'}"]
    return [*settings, *FAST]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        pytest.param({"items": ""}, r"items\.csv is empty, expected data", id="empty-file"),
        pytest.param(
            {"items": "item_id,title\n"},
            r"items\.csv has a header but no rows, expected one",
            id="header-only",
        ),
        pytest.param(
            {"events": "user,item_id\nu1,A\n"},
            r'events\.csv has no column "user_id" \(catalog\.user_id\)\. Did you mean "user"\?',
            id="missing-column",
        ),
        pytest.param(
            {"items": ITEMS + "A,Lamp\n"},
            r'items\.csv: the item_id "A" is in data rows 1 and 4',
            id="duplicate-item",
        ),
        pytest.param(
            {"events": EVENTS + "u1,BB,4\n"},
            r'events\.csv: 1 of 4 events \(the first in data row 4\) .* "BB"\. Did you mean "B"\?',
            id="unknown-item",
        ),
        pytest.param(
            {"items": ITEMS + "D,\n"},
            r'items\.csv: item "D" \(data row 4\) has an empty text',
            id="empty-text",
        ),
        pytest.param(
            {"items": ITEMS + ",Vase\n"}, r"items\.csv: data row 4 has an empty item_id", id="empty-item-id"
        ),
        pytest.param(
            {"events": EVENTS + ",A,4\n"}, r"events\.csv: data row 4 has an empty user_id", id="empty-user-id"
        ),
        pytest.param(
            {"items": ITEMS.encode() + "D,Ваза\n".encode("cp1251")},
            r"items\.csv is not UTF-8: byte 0xc2 at position 51 \(line 5\)\. Set catalog\.encoding to",
            id="not-utf-8",
        ),
        pytest.param(
            {"events": EVENTS + "u1,A,yesterday\n"},
            r'events\.csv: data row 4 has "yesterday" as timestamp, expected a number or an ISO date',
            id="timestamp",
        ),
        pytest.param(
            {"items": '{"item_id": "A", "title": "Lamp"}\n{"item_id": "B"\n', "form": "jsonl"},
            r"items\.jsonl: line 2 is not JSON",
            id="broken-jsonl-line",
        ),
        pytest.param(
            {"form": "csv.gz"}, r"items\.csv\.gz is not gzip: it begins with b'item'", id="gz-that-is-none"
        ),
    ],
)
def test_a_bad_table_is_refused(
    files: dict[str, str | bytes], message: str, tmp_path: Path, command: Command
) -> None:
    arguments = tables(tmp_path, **files)
    before = toy.contents(tmp_path)
    assert_refused(command("tokenize", *arguments), message)
    assert toy.contents(tmp_path) == before


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("catalog.items=absent.csv", r"catalog\.items: there is no file absent\.csv\. Check the path"),
        ("catalog.text={titel}", r'catalog\.text: "\{titel\}" .*Did you mean "title"\?'),
        (
            "tokenizer.codebook_sizes=[2,1]",
            r"tokenizer\.codebook_sizes: \[2, 1\] names 2 items at most, .* has 3",
        ),
        ("tokenizer.codebook_sizes=[0,4]", r"codebook_sizes needs at least one level of at least one code"),
        ("embedding.path=absent.npy", r"embedding\.path=absent\.npy: there is no such file"),
        ("rl.num_generation=8", r'rl\.num_generation is not an option\. Did you mean "num_generations"\?'),
        ("num_beams=8", r'num_beams is not an option\. Did you mean "evaluation\.num_beams"\?'),
        ("rl.num_generations=many", r"rl\.num_generations: expected a valid integer.*, got 'many'"),
        ("evaluation.num_beams=0", r"evaluation\.num_beams: expected greater than or equal to 1, got 0"),
        ("sft.trainer.output_dir=x", r"output_dir is set by sidrec"),
        ("catalog", r"'catalog' is no setting\. Write section\.key=value"),
    ],
)
def test_a_bad_setting_is_refused(setting: str, message: str, tmp_path: Path, command: Command) -> None:
    arguments = tables(tmp_path)
    before = toy.contents(tmp_path)
    assert_refused(command("tokenize", *arguments, setting), message)
    assert toy.contents(tmp_path) == before


def test_vectors_of_the_wrong_row_count_are_refused(tmp_path: Path, command: Command) -> None:
    arguments = tables(tmp_path)
    np.save(tmp_path / "own.npy", np.ones((2, 5), dtype=np.float32))
    before = toy.contents(tmp_path)
    ended = command("tokenize", *arguments, f"embedding.path={tmp_path / 'own.npy'}")
    assert_refused(ended, r"own\.npy has 2 rows, but there are 3 items")
    assert toy.contents(tmp_path) == before


@pytest.mark.parametrize("output", ["file", "file/run"])
def test_an_output_that_cannot_be_written_is_refused(output: str, tmp_path: Path, command: Command) -> None:
    (tmp_path / "file").write_text("mine")
    ended = command("tokenize", *tables(tmp_path), f"output={tmp_path / output}")
    assert_refused(
        ended, rf"output: .*{output} cannot be written, since .*file is a file\. Set another output"
    )
    assert (tmp_path / "file").read_text() == "mine"


def test_a_missing_config_is_refused(command: Command) -> None:
    assert_refused(command("run", "absent.yaml"), r"The config absent\.yaml does not exist\. Check the path")


def test_a_config_that_is_no_yaml_is_refused(tmp_path: Path, command: Command) -> None:
    (tmp_path / "broken.yaml").write_text("catalog: [1,\nseed: 0\n")
    assert_refused(command("run", tmp_path / "broken.yaml"), r"broken\.yaml is not valid YAML: ")


@pytest.mark.parametrize(
    ("stage", "without", "message"),
    [
        ("baselines", "tokenize", r"run/tokenize holds no finished stage\. Run first: sidrec tokenize"),
        ("sft", "tokenize", r"run/tokenize holds no finished stage\. Run first: sidrec tokenize"),
        ("rl", "sft", r"run/sft holds no finished stage\. Run first: sidrec sft"),
        ("evaluate", "sft", r"run holds no model to evaluate\. Run first: sidrec sft"),
    ],
)
def test_a_stage_before_its_turn_is_refused(
    stage: str, without: str, message: str, toy_run: Path, tmp_path: Path, command: Command
) -> None:
    config = toy.copy(toy_run, tmp_path, without=(without, "rl"))
    before = toy.contents(tmp_path)
    assert_refused(command(stage, config), message)
    assert toy.contents(tmp_path) == before


def test_an_interrupted_stage_is_called_so(toy_run: Path, tmp_path: Path, command: Command) -> None:
    config = toy.copy(toy_run, tmp_path, without=("rl",))
    (tmp_path / "run" / "sft").rename(tmp_path / "run" / "sft.partial")
    (tmp_path / "run" / "sft.partial" / "manifest.json").unlink()
    assert_refused(
        command("rl", config), r"holds no finished stage \(it was interrupted\)\. Run first: sidrec sft"
    )


@pytest.mark.parametrize("stage", ["baselines", "sft", "rl", "evaluate"])
def test_a_run_of_another_catalogue_is_refused(
    stage: str, toy_run: Path, tmp_path: Path, command: Command
) -> None:
    config = toy.copy(toy_run, tmp_path)
    (tmp_path / "items.csv").write_text((tmp_path / "items.csv").read_text().replace("red", "crimson"))
    before = toy.contents(tmp_path)
    message = (
        r"run holds another catalogue \(sha256 \w{8}\) than .*items\.csv gives now \(\w{8}\)\. Set another"
    )
    assert_refused(command(stage, config), message)
    assert toy.contents(tmp_path) == before


@pytest.mark.parametrize("stage", ["rl", "evaluate"])
def test_a_model_of_other_semantic_ids_is_refused(
    stage: str, toy_run: Path, tmp_path: Path, command: Command
) -> None:
    config = toy.copy(toy_run, tmp_path)
    assert command("tokenize", config, "seed=1").status == 0
    before = toy.contents(tmp_path)
    message = (
        r"run/sft was trained on other semantic IDs \(sha256 \w{8}\) than .*run/tokenize holds now "
        r"\(\w{8}\)\. Rerun: sidrec sft"
    )
    assert_refused(command(stage, config, "seed=1"), message)
    assert toy.contents(tmp_path) == before


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("rl.rewards={rul: 1}", r'rl\.rewards: unknown reward "rul"\. Did you mean "rule"\?'),
        ("rl.rewards={}", r"rl\.rewards names no reward\. Give at least one of: rule, ranking"),
        ("rl.num_generations=25", r"rl\.num_generations: 25 distinct rollouts .* the catalogue has 24 items"),
        ("rl.prompts_per_step=181", r"rl\.prompts_per_step: 181 prompts .* histories give 180 "),
        ("rl.prompts_per_step=181", r"rl\.prompts_per_step: 181 prompts of a step .* histories give 180"),
        ("rl.trainer.betta=1", r'rl\.trainer\.betta is not a field of GRPOConfig\. Did you mean "beta"\?'),
    ],
)
@pytest.mark.parametrize("stage", ["rl", "run"])
def test_settings_of_rl_are_refused_before_anything_is_trained(
    stage: str, setting: str, message: str, toy_run: Path, tmp_path: Path, command: Command
) -> None:
    config = toy.copy(toy_run, tmp_path, without=("rl", "sft") if stage == "run" else ("rl",))
    before = toy.contents(tmp_path)
    assert_refused(command(stage, config, setting), message)
    assert toy.contents(tmp_path) == before


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("sft.tasks={next_itm: 1}", r'there is no task "next_itm"\. Did you mean "next_item"\?'),
        ("sft.tasks.next_item=-1", r"sft\.tasks\.next_item\.weight: expected greater than or equal to 0"),
        ("sft.tasks={next_item: 0}", r"sft\.tasks: all weights are 0"),
        ("sft.tasks.preference_to_item=1", r"the catalogue has no table of users\. Set catalog\.users"),
        ('sft.tasks.mine={prompt: "{title} is"}', r"sft\.tasks\.mine has no completion"),
        (
            'sft.tasks.mine={prompt: "{titel} is", completion: "{sid}"}',
            r'sft\.tasks\.mine\.prompt: "\{titel\}" names a column .*Did you mean "title"\?',
        ),
        ('sft.tasks.mine={prompt: "{title} is", completion: "{"}', r'completion: "\{" has an unmatched "\{"'),
    ],
)
@pytest.mark.parametrize("stage", ["run", "sft"])
def test_tasks_that_cannot_be_trained_on_are_refused_before_anything_is_trained(
    stage: str, setting: str, message: str, toy_run: Path, tmp_path: Path, command: Command
) -> None:
    config = toy.write(tmp_path) if stage == "run" else toy.copy(toy_run, tmp_path, without=("rl", "sft"))
    before = toy.contents(tmp_path)
    assert_refused(command(stage, config, setting), message)
    assert toy.contents(tmp_path) == before


def test_a_row_per_user_is_refused_where_prompts_are_in_words(
    toy_run: Path, tmp_path: Path, command: Command
) -> None:
    config = toy.copy(toy_run, tmp_path, without=("rl", "sft"))
    ended = command("sft", config, "sft.rows=user", "prompt.template=instruct")
    assert_refused(ended, r"sft\.rows=user puts a whole history into one row, .* Set sft\.rows=prefix")


def test_rows_longer_than_the_model_has_positions_are_refused(
    toy_run: Path, tmp_path: Path, command: Command
) -> None:
    config = toy.copy(toy_run, tmp_path, without=("rl", "sft"))
    small_model("qwen2", vocab_size=300, max_position_embeddings=32).save_pretrained(tmp_path / "model")
    text_tokenizer().save_pretrained(tmp_path / "model")
    before = toy.contents(tmp_path)
    ended = command("sft", config, f"model.path={tmp_path / 'model'}")
    assert_refused(
        ended, r"next_item: a row has \d+ tokens, but the model has 32 positions .* Lower prompt\."
    )
    assert toy.contents(tmp_path) == before


def test_an_unknown_field_of_the_trainer_is_refused(toy_run: Path, tmp_path: Path, command: Command) -> None:
    config = toy.copy(toy_run, tmp_path, without=("rl", "sft"))
    before = toy.contents(tmp_path)
    message = (
        r'sft\.trainer\.max_grad_nor is not a field of TrainingArguments\. Did you mean "max_grad_norm"\?'
    )
    assert_refused(command("sft", config, "sft.trainer.max_grad_nor=1"), message)
    assert toy.contents(tmp_path) == before


def test_a_value_that_the_trainer_refuses_is_refused(toy_run: Path, tmp_path: Path, command: Command) -> None:
    config = toy.copy(toy_run, tmp_path, without=("rl", "sft"))
    before = toy.contents(tmp_path)
    message = (
        r"sft\.trainer: TrainingArguments refuses these values: .*the saving steps to be a round multiple"
    )
    assert_refused(command("sft", config, "sft.trainer.save_steps=3"), message)
    assert toy.contents(tmp_path) == before


def test_a_model_path_of_nothing_is_refused(toy_run: Path, tmp_path: Path, command: Command) -> None:
    config = toy.copy(toy_run, tmp_path, without=("rl", "sft"))
    before = toy.contents(tmp_path)
    ended = command("sft", config, f"model.path={tmp_path / 'absent'}")
    assert_refused(ended, r"model\.path: .*absent could not be loaded as a causal language model")
    assert toy.contents(tmp_path) == before


def test_a_model_that_scales_its_logits_is_refused(toy_run: Path, tmp_path: Path, command: Command) -> None:
    config = toy.copy(toy_run, tmp_path, without=("rl", "sft"))
    small_model("granite", vocab_size=300, logits_scaling=8.0).save_pretrained(tmp_path / "granite")
    text_tokenizer().save_pretrained(tmp_path / "granite")
    before = toy.contents(tmp_path)
    ended = command("sft", config, f"model.path={tmp_path / 'granite'}")
    assert_refused(ended, r"GraniteForCausalLM does more to its logits .* Choose another model")
    assert toy.contents(tmp_path) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--history", "i01", "-k", "25"], r"k is 25, but the catalogue has 24 items\. Ask for 1 to 24\."),
        (["--history", "i01", "-k", "0"], r"k is 0, but the catalogue has 24 items\. Ask for 1 to 24\."),
        (
            ["--history", "i01", "i02", "-k", "23", "--exclude-history"],
            r"k is 23, but the catalogue has 24 items without the 2 of the history\. Ask for 1 to 22\.",
        ),
        (["--history", ""], r"The history is empty\. Give at least one item id, oldest first\."),
        (["--history", "i01", "I07"], r'no item with this id: "I07"\. Did you mean "i07"\?'),
    ],
)
def test_a_bad_recommendation_is_refused(
    arguments: list[str], message: str, toy_run: Path, command: Command
) -> None:
    assert_refused(command("recommend", toy_run, *arguments), message)


def test_a_directory_without_a_model_is_refused(tmp_path: Path, command: Command) -> None:
    ended = command("recommend", tmp_path, "--history", "A")
    assert_refused(ended, r"holds no model: neither it nor its rl/ or sft/ has a prompts\.json\. Give a run")


@pytest.mark.parametrize("arguments", [["recommend", "{run}", "--history", "i01"], ["rl", "{config}"]])
def test_a_changed_model_file_is_refused(
    arguments: list[str], toy_run: Path, tmp_path: Path, command: Command
) -> None:
    config = toy.copy(toy_run, tmp_path, without=("rl",))
    weights = tmp_path / "run" / "sft" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    before = toy.contents(tmp_path)
    named = [argument.format(run=tmp_path / "run", config=config) for argument in arguments]
    message = r"model\.safetensors has changed since it was written \(sha256 \w{8}, manifest \w{8}\)\. Delete"
    assert_refused(command(*named), message)
    assert toy.contents(tmp_path) == before


def test_damaged_semantic_ids_are_refused(toy_run: Path, tmp_path: Path, command: Command) -> None:
    config = toy.copy(toy_run, tmp_path)
    (tmp_path / "run" / "tokenize" / "semantic_ids.parquet").write_bytes(b"PAR1")
    message = r"semantic_ids\.parquet is not a Parquet file, or it is damaged .*Delete .*tokenize and rerun"
    assert_refused(command("sft", config), message)


def in_a_process(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sidrec", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def test_what_the_user_can_mend_ends_a_real_process_with_status_2(tmp_path: Path) -> None:
    ended = in_a_process("tokenize", *tables(tmp_path, items=ITEMS + "A,Lamp\n"))
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == (
        'sidrec: items.csv: the item_id "A" is in data rows 1 and 4, expected each item once '
        "(1 rows too many). Remove the duplicates, or set catalog.filters.duplicate_items=first.\n"
    )


@pytest.fixture
def poisoned_model(toy_run: Path, tmp_path: Path) -> Path:
    """Weights that became NaN, with no manifest that would tell."""
    shutil.copytree(toy_run / "sft", tmp_path / "sft")
    (tmp_path / "sft" / "manifest.json").unlink()
    weights = load_file(tmp_path / "sft" / "model.safetensors")
    poisoned = {name: weight.fill_(float("nan")) for name, weight in weights.items()}
    save_file(poisoned, tmp_path / "sft" / "model.safetensors", metadata={"format": "pt"})
    return tmp_path / "sft"


def test_a_fault_of_ours_is_not_dressed_up_as_the_user_s(
    poisoned_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["sidrec", "recommend", str(poisoned_model), "--history", "i01"])
    with pytest.raises(RuntimeError, match="gave a beam a score that is not finite"):
        main()


@pytest.mark.slow
def test_a_fault_of_ours_ends_a_real_process_with_a_traceback_and_status_1(poisoned_model: Path) -> None:
    ended = in_a_process("recommend", poisoned_model, "--history", "i01")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith("Traceback (most recent call last):")
    assert "RuntimeError: The model gave a beam a score that is not finite" in ended.stderr
