"""A stage's directory is whole or not there, whenever it is killed, and says what it was made from."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from sidrec.artifacts import (
    CHECKPOINTS,
    FORMAT_VERSION,
    Stage,
    check_outputs,
    read_json,
    read_manifest,
    sha256_of_file,
    sha256_of_json,
    write_json,
)
from sidrec.errors import ArtifactError

ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # SHA-256 of "abc", FIPS 180-2, B.1


def make_stage(run: Path, **changes) -> Stage:
    made_from = {"settings": {"epochs": 3}, "inputs": {"catalog": "aa"}, "seed": 0} | changes
    return Stage(run / "sft", "sft", **made_from)


def finished(run: Path, text: str = "abc", **changes) -> Stage:
    stage = make_stage(run, **changes)
    (stage.begin() / "weights.txt").write_text(text)
    stage.finish("seed: 0\n")
    return stage


def names_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


class Killed(BaseException):
    """Stands for SIGKILL: nothing catches it."""


def finish_until(
    monkeypatch: pytest.MonkeyPatch, fatal: Callable[[str, str], bool], run: Path, **changes
) -> bool:
    """Run a whole stage that dies before the first `fatal(operation, file name)`; return whether it died."""
    with monkeypatch.context() as patch:
        for operation in ("replace", "unlink", "rmdir"):
            patch.setattr(os, operation, dying(getattr(os, operation), operation, fatal))
        try:
            finished(run, **changes)
        except Killed:
            return True
    return False


def dying(function: Callable, operation: str, fatal: Callable[[str, str], bool]) -> Callable:
    def wrapped(path, *rest, **keywords):
        if fatal(operation, Path(path).name):
            raise Killed
        return function(path, *rest, **keywords)

    return wrapped


def test_a_new_stage_is_not_done(tmp_path):
    assert not make_stage(tmp_path).is_done()


def test_a_stage_that_has_begun_is_not_done(tmp_path):
    stage = make_stage(tmp_path)
    (stage.begin() / "weights.txt").write_text("abc")
    assert not stage.is_done()
    assert not stage.directory.exists()


def test_a_finished_stage_is_done_for_everyone_who_asks(tmp_path):
    finished(tmp_path)
    assert make_stage(tmp_path).is_done()


def test_a_finished_stage_leaves_nothing_beside_it(tmp_path):
    finished(tmp_path)
    assert names_in(tmp_path) == ["sft"]
    assert names_in(tmp_path / "sft") == ["config.yaml", "manifest.json", "weights.txt"]


@pytest.mark.parametrize(
    "change", [{"settings": {"epochs": 4}}, {"inputs": {"catalog": "bb"}}, {"inputs": {}}, {"seed": 1}]
)
def test_with_other_settings_inputs_or_seed_it_is_not_done(tmp_path, change):
    finished(tmp_path)
    assert not make_stage(tmp_path, **change).is_done()


def test_the_order_of_settings_does_not_matter(tmp_path):
    finished(tmp_path, settings={"a": 1, "b": 2})
    assert make_stage(tmp_path, settings={"b": 2, "a": 1}).is_done()


def test_stages_of_equal_settings_and_other_names_differ(tmp_path):
    stages = [Stage(tmp_path / "x", name, {}, {}, 0) for name in ("sft", "rl")]
    assert stages[0].fingerprint != stages[1].fingerprint


def test_what_an_interrupted_run_left_is_kept_for_the_same_settings(tmp_path):
    (make_stage(tmp_path).begin() / "checkpoint").write_text("half")
    assert (make_stage(tmp_path).begin() / "checkpoint").read_text() == "half"


def test_what_an_interrupted_run_left_is_thrown_away_for_other_settings(tmp_path):
    (make_stage(tmp_path).begin() / "checkpoint").write_text("half")
    assert names_in(make_stage(tmp_path, seed=1).begin()) == ["fingerprint.json"]


def test_leftovers_without_a_fingerprint_are_thrown_away(tmp_path):
    (tmp_path / "sft.partial").mkdir()
    (tmp_path / "sft.partial" / "checkpoint").write_text("whose?")
    assert names_in(make_stage(tmp_path).begin()) == ["fingerprint.json"]


def test_the_old_result_stays_until_the_new_one_is_whole(tmp_path):
    finished(tmp_path, "old")
    stage = make_stage(tmp_path, seed=1)
    (stage.begin() / "weights.txt").write_text("new")
    assert (tmp_path / "sft" / "weights.txt").read_text() == "old"
    stage.finish("seed: 1\n")
    assert (tmp_path / "sft" / "weights.txt").read_text() == "new"
    assert names_in(tmp_path) == ["sft"]


def test_a_file_that_only_the_old_result_had_is_gone(tmp_path):
    (finished(tmp_path).directory / "extra.txt").write_text("old")
    finished(tmp_path, seed=1)
    assert names_in(tmp_path / "sft") == ["config.yaml", "manifest.json", "weights.txt"]


def test_killed_before_the_first_rename_the_new_result_is_put_in_place(tmp_path, monkeypatch):
    finished(tmp_path, "old")
    assert finish_until(monkeypatch, lambda *at: at == ("replace", "sft"), tmp_path, text="new", seed=1)
    assert names_in(tmp_path) == ["sft", "sft.partial"]
    assert make_stage(tmp_path, seed=1).is_done()
    assert (tmp_path / "sft" / "weights.txt").read_text() == "new"
    assert names_in(tmp_path) == ["sft"]


def test_killed_between_the_renames_the_new_result_is_put_in_place(tmp_path, monkeypatch):
    finished(tmp_path, "old")
    assert finish_until(
        monkeypatch, lambda *at: at == ("replace", "sft.partial"), tmp_path, text="new", seed=1
    )
    assert names_in(tmp_path) == ["sft.old", "sft.partial"]
    assert make_stage(tmp_path, seed=1).is_done()
    assert (tmp_path / "sft" / "weights.txt").read_text() == "new"
    assert names_in(tmp_path) == ["sft"]


def test_killed_after_the_renames_the_old_result_is_swept_away(tmp_path):
    finished(tmp_path, "new")
    (tmp_path / "sft.old").mkdir()
    (tmp_path / "sft.old" / "weights.txt").write_text("old")
    assert make_stage(tmp_path).is_done()
    assert names_in(tmp_path) == ["sft"]


def test_a_first_run_killed_before_its_rename_is_put_in_place(tmp_path, monkeypatch):
    assert finish_until(monkeypatch, lambda *at: at == ("replace", "sft.partial"), tmp_path)
    assert make_stage(tmp_path).is_done()
    assert names_in(tmp_path) == ["sft"]


def test_killed_after_its_manifest_was_written_it_resumes_and_the_manifest_holds(tmp_path, monkeypatch):
    assert finish_until(monkeypatch, lambda *at: at == ("unlink", "fingerprint.json"), tmp_path)
    assert not make_stage(tmp_path).is_done()
    finished(tmp_path)
    assert list(read_manifest(tmp_path / "sft")["outputs"]) == ["weights.txt"]
    assert check_outputs(tmp_path / "sft") == []


def test_killed_at_any_operation_on_files_the_next_run_ends_whole(tmp_path, monkeypatch):
    """The run dies before its first, second, ... operation, until it gets through alive."""
    died = 0
    while True:
        run = tmp_path / str(died)
        run.mkdir()
        finished(run, "old")
        left = iter(range(died))
        if not finish_until(monkeypatch, lambda *_, left=left: next(left, None) is None, run, seed=1):
            break
        if not make_stage(run, seed=1).is_done():
            finished(run, seed=1)
        assert names_in(run) == ["sft"]
        assert names_in(run / "sft") == ["config.yaml", "manifest.json", "weights.txt"]
        assert make_stage(run, seed=1).is_done()
        assert check_outputs(run / "sft") == []
        died += 1
    assert died >= 6  # fingerprint, manifest, its removal, two renames, the sweep


@pytest.mark.parametrize("renamed", ["sft", "sft.partial"])
def test_begin_mends_a_kill_too(tmp_path, monkeypatch, renamed):
    finished(tmp_path, "old")
    assert finish_until(monkeypatch, lambda *at: at == ("replace", renamed), tmp_path, seed=1)
    finished(tmp_path, "newest", seed=2)
    assert (tmp_path / "sft" / "weights.txt").read_text() == "newest"
    assert names_in(tmp_path) == ["sft"]


def test_a_sweep_that_was_killed_does_not_stop_the_next_run(tmp_path):
    finished(tmp_path, "old")
    shutil.copytree(tmp_path / "sft", tmp_path / "sft.old")
    finished(tmp_path, "new", seed=1)
    assert (tmp_path / "sft" / "weights.txt").read_text() == "new"
    assert names_in(tmp_path) == ["sft"]


def test_an_old_result_whose_successor_is_lost_comes_back(tmp_path):
    finished(tmp_path)
    os.replace(tmp_path / "sft", tmp_path / "sft.old")
    assert make_stage(tmp_path).is_done()
    assert names_in(tmp_path) == ["sft"]


def test_a_result_of_another_run_is_taken_over_with_a_config_of_its_own(tmp_path):
    donor = finished(tmp_path / "a")
    stage = make_stage(tmp_path / "b")
    assert stage.adopt([tmp_path / "nowhere", donor.directory], "seed: 0\noutput: b\n")
    assert stage.is_done()
    assert (stage.directory / "weights.txt").read_text() == "abc"
    assert (stage.directory / "config.yaml").read_text() == "seed: 0\noutput: b\n"
    assert (donor.directory / "config.yaml").read_text() == "seed: 0\n"
    assert check_outputs(stage.directory) == []
    assert names_in(tmp_path / "b") == ["sft"]


def test_what_was_made_from_something_else_is_not_taken_over(tmp_path):
    donor = finished(tmp_path / "a", seed=1)
    assert not make_stage(tmp_path / "b").adopt([donor.directory], "")
    assert not (tmp_path / "b").exists()


def test_a_stage_that_is_done_takes_over_nothing(tmp_path):
    donor, stage = finished(tmp_path / "a"), finished(tmp_path / "b", "mine")
    assert stage.adopt([donor.directory], "")
    assert (stage.directory / "weights.txt").read_text() == "mine"


def test_what_is_taken_over_is_not_changed_by_a_later_result(tmp_path):
    donor = finished(tmp_path / "a")
    assert make_stage(tmp_path / "b").adopt([donor.directory], "")
    finished(tmp_path / "b", "other", seed=1)
    assert (donor.directory / "weights.txt").read_text() == "abc"
    assert check_outputs(donor.directory) == []


def test_files_are_copied_where_the_file_system_has_no_links(tmp_path, monkeypatch):
    def no_links(*_):
        raise OSError("links are not supported")

    donor = finished(tmp_path / "a")
    monkeypatch.setattr(os, "link", no_links)
    stage = make_stage(tmp_path / "b")
    assert stage.adopt([donor.directory], "")
    assert check_outputs(stage.directory) == []


@pytest.mark.parametrize("killed_at", range(3))  # two files and the manifest
def test_killed_while_taking_over_it_is_not_taken_for_whole(tmp_path, monkeypatch, killed_at):
    donor = finished(tmp_path / "a")
    (donor.directory / "more.txt").write_text("x")
    links = []

    def dies(source, target):
        if len(links) == killed_at:
            raise Killed
        links.append(target)
        shutil.copy2(source, target)

    stage = make_stage(tmp_path / "b")
    with monkeypatch.context() as patch:
        patch.setattr(os, "link", dies)
        with pytest.raises(Killed):
            stage.adopt([donor.directory], "")
    assert not make_stage(tmp_path / "b").is_done()
    assert make_stage(tmp_path / "b").adopt([donor.directory], "")
    assert {"more.txt", "weights.txt"} <= set(names_in(stage.directory))


def test_checkpoints_are_no_part_of_a_finished_stage(tmp_path):
    stage = make_stage(tmp_path)
    checkpoint = stage.begin() / CHECKPOINTS / "checkpoint-9"
    checkpoint.mkdir(parents=True)
    (stage.partial / "weights.txt").write_text("abc")
    stage.finish("seed: 0\n")
    assert names_in(stage.directory) == ["config.yaml", "manifest.json", "weights.txt"]


def test_checkpoints_are_there_until_the_stage_is_whole(tmp_path, monkeypatch):
    """A kill while large files are hashed must not cost the training."""
    stage = make_stage(tmp_path)
    (stage.begin() / CHECKPOINTS / "checkpoint-9").mkdir(parents=True)
    (stage.partial / "weights.txt").write_text("abc")

    def die(path: Path) -> str:
        raise Killed

    monkeypatch.setattr("sidrec.artifacts.sha256_of_file", die)
    with pytest.raises(Killed):
        stage.finish("seed: 0\n")
    assert (make_stage(tmp_path).begin() / CHECKPOINTS / "checkpoint-9").is_dir()


def test_the_manifest_says_what_the_stage_was_made_from(tmp_path):
    stage = finished(tmp_path, seed=7)
    manifest = read_manifest(tmp_path / "sft")
    assert manifest["stage"] == "sft"
    assert manifest["format_version"] == FORMAT_VERSION
    assert manifest["fingerprint"] == stage.fingerprint
    assert manifest["seed"] == 7
    assert manifest["inputs"] == {"catalog": "aa"}
    assert manifest["outputs"] == {"weights.txt": ABC}
    assert {"python", "sidrec", "torch", "transformers", "trl"} <= set(manifest["versions"])
    assert manifest["wall_seconds"] >= 0
    assert 1 < manifest["peak_memory_mb"] < 1_000_000


def test_the_config_lies_beside_the_result(tmp_path):
    finished(tmp_path)
    assert (tmp_path / "sft" / "config.yaml").read_text() == "seed: 0\n"


def test_whole_outputs_are_without_problems(tmp_path):
    finished(tmp_path)
    assert check_outputs(tmp_path / "sft") == []


def test_a_changed_output_is_found(tmp_path):
    finished(tmp_path)
    (tmp_path / "sft" / "weights.txt").write_text("abd")
    [problem] = check_outputs(tmp_path / "sft")
    assert f"weights.txt has changed since it was written (sha256 a52d159f, manifest {ABC[:8]})" in problem


def test_a_missing_output_is_found(tmp_path):
    finished(tmp_path)
    (tmp_path / "sft" / "weights.txt").unlink()
    [problem] = check_outputs(tmp_path / "sft")
    assert problem.endswith("weights.txt is missing.")


@pytest.mark.parametrize(
    ("directory", "command"),
    [
        ("tokenize", "tokenize"),
        ("catalog", "tokenize"),
        ("sft", "sft"),
        ("rl", "rl"),
        ("evaluate/sft", "evaluate"),
        ("evaluate/rl", "evaluate"),
        ("baselines/popularity", "baselines"),
        ("whatever", "run"),
    ],
)
def test_a_missing_stage_names_the_command_that_makes_it(tmp_path, directory, command):
    with pytest.raises(
        ArtifactError, match=f"{directory} holds no finished stage. Run first: sidrec {command}$"
    ):
        read_manifest(tmp_path / directory)


def test_an_interrupted_stage_is_called_so(tmp_path):
    make_stage(tmp_path).begin()
    with pytest.raises(ArtifactError, match=r"\(it was interrupted\). Run first: sidrec sft"):
        read_manifest(tmp_path / "sft")


def test_a_broken_manifest_is_refused_rather_than_redone(tmp_path):
    finished(tmp_path)
    (tmp_path / "sft" / "manifest.json").write_text("{")
    with pytest.raises(ArtifactError, match=r"manifest.json is not readable JSON"):
        make_stage(tmp_path).is_done()


def test_json_comes_back_as_it_was_written(tmp_path):
    value = {"name": "Größe", "numbers": [1, 2.5, None, True]}
    write_json(tmp_path / "x.json", value)
    assert read_json(tmp_path / "x.json") == value
    assert names_in(tmp_path) == ["x.json"]


def test_a_failed_write_leaves_the_old_json(tmp_path):
    write_json(tmp_path / "x.json", 1)
    with pytest.raises(TypeError):
        write_json(tmp_path / "x.json", {"no": object()})
    assert read_json(tmp_path / "x.json") == 1


@pytest.mark.parametrize("content", [b"{", b"", b"\xff\xfe{}"])
def test_broken_json_says_what_to_delete(tmp_path, content):
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(ArtifactError, match=rf"x.json is not readable JSON .*Delete {tmp_path} and rerun"):
        read_json(tmp_path / "x.json")


def test_missing_json_asks_for_the_right_directory(tmp_path):
    with pytest.raises(
        ArtifactError, match=rf"x.json does not exist. Is {tmp_path} a directory that sidrec wrote"
    ):
        read_json(tmp_path / "x.json")


def test_the_hash_of_a_file_is_that_of_its_bytes(tmp_path):
    (tmp_path / "x").write_bytes(b"abc")
    assert sha256_of_file(tmp_path / "x") == ABC


def test_the_hash_of_json_knows_no_order_of_keys():
    assert sha256_of_json({"a": 1, "b": [2]}) == sha256_of_json(json.loads('{"b": [2], "a": 1}'))
    assert sha256_of_json({"a": 1}) != sha256_of_json({"a": 2})
