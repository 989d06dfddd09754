"""What is said of a long step, on a terminal and elsewhere."""

import logging
import re
import sys

import pytest

from sidrec import progress as module
from sidrec.progress import progress


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass only when they are told to."""

    class Clock:
        now = 100.0

        def monotonic(self) -> float:
            return self.now

    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def test_off_a_terminal_the_end_is_all_that_is_said(clock, caplog, capsys):
    with caplog.at_level(logging.INFO, "sidrec"), progress("embedding", "texts") as advance:
        advance(600, 1200)
        clock.now += 4
        assert caplog.messages == []
        advance(1200, 1200)
    assert caplog.messages == ["embedding: 1,200 texts in 4.0 s, 300/s"]
    assert capsys.readouterr().err == ""


def test_a_short_step_or_one_without_anything_to_do_is_not_spoken_of(clock, caplog):
    with caplog.at_level(logging.INFO, "sidrec"):
        with progress("embedding", "texts") as advance:
            advance(5, 5)
            clock.now += 0.9
        with progress("embedding", "texts"):
            clock.now += 10
    assert caplog.messages == []


def test_parts_that_follow_each_other_are_added(clock, caplog):
    with caplog.at_level(logging.INFO, "sidrec"), progress("embedding", "texts") as advance:
        advance(5, 10)
        advance(10, 10)
        clock.now += 8
        advance(2, 4)
        advance(4, 4)
    assert caplog.messages == ["embedding: 14 texts in 8.0 s, 1.8/s"]


def test_a_terminal_shows_the_count_the_rate_and_the_time_left(clock, capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    with progress("embedding", "texts") as advance:
        clock.now += 10
        advance(500, 1000)
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", capsys.readouterr().err)
    assert re.search(r"embedding .* 500/1000 texts 50/s (-|\d+):", shown)


def shown(capsys) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", capsys.readouterr().err)


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")


def test_a_note_stands_beside_the_count_until_there_is_another(clock, terminal, capsys):
    with progress("sft", "steps") as advance:
        advance(1, 4, "loss 2.5")
        advance(2, 4)
    assert re.search(r"2/4 steps .* loss 2.5", shown(capsys))


def test_of_several_processes_only_the_main_one_shows_a_bar(clock, terminal, capsys, monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with progress("sft", "steps") as advance:
        advance(1, 4)
    assert shown(capsys) == ""


def test_what_is_logged_while_a_bar_is_shown_goes_through_it_and_then_no_longer(clock, terminal, capsys):
    handler = logging.StreamHandler(sys.stderr)
    logging.getLogger().addHandler(handler)
    try:
        with progress("sft", "steps") as advance:
            advance(1, 4)
            assert handler.stream is sys.stderr is not sys.__stderr__
            logging.getLogger("sidrec.test").warning("a line")
        assert handler.stream is sys.stderr
    finally:
        logging.getLogger().removeHandler(handler)
    assert re.search(r"[\r\n]a line\n", shown(capsys))
