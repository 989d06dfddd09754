"""What commands say on standard error: how much, in what form, in which colours, on a terminal or off it."""

import json
import logging
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
import toy
from test_errors import assert_refused

from sidrec import logs
from sidrec.commands.global_options import moved_to_front
from sidrec.progress import progress, working

FEW = ("tokenizer.epochs=1", "embedding.dim=8")


@pytest.fixture(autouse=True)
def levels():
    """Leave the loggers as they were."""
    before = logging.getLogger("sidrec").level
    yield
    logging.getLogger("sidrec").setLevel(before)


def sidrec(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sidrec", *map(str, arguments)],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> Path:
    return toy.write(tmp_path_factory.mktemp("logs"))


@pytest.mark.parametrize(
    ("given", "moved"),
    [
        (["run", "a.yaml", "--quiet", "seed=1"], ["--quiet", "run", "a.yaml", "seed=1"]),
        (["run", "--json-logs", "a.yaml", "--verbose"], ["--json-logs", "--verbose", "run", "a.yaml"]),
        (["inspect", "--", "--quiet"], ["inspect", "--", "--quiet"]),
        ([], []),
    ],
)
def test_global_options_may_stand_anywhere_before_two_dashes(given, moved):
    assert moved_to_front(given) == moved


def test_off_a_terminal_a_stage_says_lines_and_draws_nothing(config, tmp_path):
    done = sidrec("tokenize", config, *FEW, f"output={tmp_path}")
    assert done.returncode == 0
    assert "tokenize: codes used per level" in done.stderr
    assert "\x1b" not in done.stderr
    assert "\r" not in done.stderr


def test_quiet_says_warnings_alone(config, tmp_path):
    done = sidrec("tokenize", config, *FEW, f"output={tmp_path}", "--quiet")
    assert done.returncode == 0
    assert "codes used per level" not in done.stderr


def test_verbose_says_how_long_steps_take_with_the_time_of_day(config, tmp_path):
    done = sidrec("--verbose", "tokenize", config, *FEW, f"output={tmp_path}")
    form = r"^\d\d:\d\d:\d\d sidrec\.progress: measuring the semantic IDs: \d+\.\d s$"
    assert re.search(form, done.stderr, re.MULTILINE)


def test_json_logs_are_an_object_per_line_to_the_error_that_ends_it(config, tmp_path):
    done = sidrec("tokenize", config, *FEW, f"output={tmp_path}", "--json-logs")
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert {tuple(line) for line in lines} == {("time", "level", "logger", "message")}
    assert [line["level"] for line in lines if "codes used" in line["message"]] == ["info"]
    refused = sidrec("tokenize", config, "seed=-1", "--json-logs")
    assert refused.returncode == 2
    (line,) = map(json.loads, refused.stderr.splitlines())
    assert (line["level"], line["logger"]) == ("error", "sidrec")
    assert line["message"].startswith("In ")


def test_quiet_and_verbose_together_are_refused(command):
    assert_refused(command("--quiet", "--verbose", "catalog"), r"--quiet and --verbose contradict each other")


def test_a_record_with_a_fault_has_its_traceback_on_the_same_line():
    try:
        raise RuntimeError("ü")
    except RuntimeError:
        record = logging.LogRecord("sidrec.x", logging.ERROR, "", 0, "%s of %d", ("a", 2), sys.exc_info())
    written = logs.JSONLines().format(record)
    assert "\n" not in written
    said = json.loads(written)
    assert (said["message"], said["level"]) == ("a of 2", "error")
    assert said["traceback"].endswith("RuntimeError: ü")


def on_a_terminal(script: str, **environment: str) -> str:
    """Run Python with a terminal for standard error; return what it wrote there."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        stderr=theirs,
        env=os.environ | {"TERM": "xterm-256color", "COLUMNS": "100"} | environment,
    )
    os.close(theirs)
    written = b""
    try:
        while block := os.read(ours, 4096):
            written += block
    except OSError:  # the other end is closed
        pass
    finally:
        os.close(ours)
    assert process.wait() == 0
    return written.decode()


STEPS = """
import time
from sidrec import logs
from sidrec.progress import progress, working
logs.set_up({options})
with working("reading"):
    time.sleep(0.3)
with progress("sft", "steps") as advance:
    advance(2, 4)
    time.sleep(0.3)
"""
COLOUR = re.compile(r"\x1b\[[0-9;]*\d+m")


def test_a_terminal_shows_steps_of_known_and_unknown_length_in_colour():
    written = on_a_terminal(STEPS.format(options=""))
    assert "reading" in written
    assert "2/4" in written
    assert COLOUR.search(written)


def test_no_color_takes_the_colours_and_leaves_the_bars():
    written = on_a_terminal(STEPS.format(options=""), NO_COLOR="1")
    coloured = [code for code in COLOUR.findall(written) if re.search(r"\[(?:\d+;)*[349]\d", code)]
    assert "2/4" in written
    assert coloured == []


@pytest.mark.parametrize("options", ["quiet=True", "json_logs=True"])
def test_a_terminal_that_is_to_be_quiet_shows_no_bar(options):
    written = on_a_terminal(STEPS.format(options=options))
    assert "reading" not in written
    assert "2/4" not in written


def test_a_step_of_unknown_length_is_said_to_verbose_ears_alone(caplog):
    with caplog.at_level(logging.INFO, "sidrec"), working("reading"):
        pass
    assert caplog.messages == []
    with caplog.at_level(logging.DEBUG, "sidrec"), working("reading"):
        pass
    assert re.fullmatch(r"reading: \d+\.\d s", caplog.messages[0])


def test_a_fault_within_a_step_goes_through(caplog):
    with pytest.raises(RuntimeError, match="fault"), working("reading"):
        raise RuntimeError("fault")
    with pytest.raises(RuntimeError, match="fault"), progress("sft", "steps"):
        raise RuntimeError("fault")
