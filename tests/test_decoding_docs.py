"""docs/decoding.md: its example runs as it stands, on a model and a table of one's own."""

import ast
import re
from pathlib import Path

import pytest
from models import small_model, text_tokenizer

PAGE = Path(__file__).parents[1] / "docs" / "decoding.md"
CODES = [(3, 0, 1), (0, 2, 2), (1, 1, 0), (1, 1, 2), (2, 0, 0), (3, 3, 3)]


@pytest.fixture
def my_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a reader would have: a model with SID tokens in its vocabulary, and a file of SIDs."""
    tokenizer = text_tokenizer()
    sids = [[f"<{'abc'[level]}_{code}>" for level, code in enumerate(row)] for row in CODES]
    tokenizer.add_tokens([f"<{letter}_{code}>" for letter in "abc" for code in range(4)])
    tokenizer.save_pretrained(tmp_path / "my-model")
    small_model(vocab_size=len(tokenizer)).save_pretrained(tmp_path / "my-model")
    (tmp_path / "sids.txt").write_text("\n".join(" ".join(sid) for sid in sids))
    monkeypatch.chdir(tmp_path)


def example() -> str:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    return code


@pytest.mark.usefixtures("my_model")
def test_the_example_recommends_items_of_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(example(), str(PAGE), "exec"), {})
    lists = [ast.literal_eval(line) for line in capsys.readouterr().out.splitlines()]
    assert len(lists) == 2
    for found in lists:
        codes = [tuple(int(token[3:-1]) for token in sid) for sid, _ in found]
        assert len(set(codes)) == 5
        assert set(codes) <= set(CODES)
        scores = [score for _, score in found]
        assert scores == sorted(scores, reverse=True)


def test_the_example_is_short_and_uses_public_names_alone() -> None:
    lines = [line for line in example().splitlines() if line.strip()]
    assert len(lines) <= 15
    assert [line for line in lines if "sidrec" in line] == [
        "from sidrec import SIDTrie, constrained_beam_search"
    ]
