"""What README says is what the code does."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import toy

from sidrec.baselines.config import BaselinesConfig
from sidrec.cli import app, main
from sidrec.config import load_config

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def block(language: str, containing: str) -> str:
    found = [
        text for text in re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL) if containing in text
    ]
    assert len(found) == 1
    return found[0]


def line_with(text: str) -> str:
    """The one line of README that holds `text`."""
    found = [line for line in README.splitlines() if text in line]
    assert len(found) == 1
    return found[0]


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    """Run the command line in this process."""
    monkeypatch.setattr(sys, "argv", ["sidrec", *arguments])
    with pytest.raises(SystemExit) as exit_:
        main()
    assert exit_.value.code == 0


def test_every_command_named_in_readme_exists():
    known = {command.name or command.callback.__name__ for command in app.registered_commands}
    named = set(re.findall(r"`(?:\.venv/bin/)?sidrec ([a-z-]+)", README))
    named |= set(re.findall(r"^\$ \.venv/bin/sidrec ([a-z-]+)", README, re.MULTILINE))
    assert named == known


def test_every_setting_named_in_readme_exists():
    names = set(
        re.findall(
            r"\b((?:catalog|embedding|tokenizer|model|sft|rl|evaluation|baselines)\.[a-z_]+)(?:[=.`])", README
        )
    )
    assert len(names) >= 8
    fields = load_config(None).model_dump()
    names.remove("tokenizer.safetensors")  # a file
    missing = [name for name in names if name.split(".")[1] not in fields[name.split(".")[0]]]
    assert missing == []


def test_the_custom_catalogue_of_readme_runs_as_written(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my").mkdir()
    books = toy.items().rename(columns={"description": "summary"})
    books.assign(author="A. N. Author").to_csv("my/books.csv", index=False)
    toy.interactions().to_csv("my/loans.csv", index=False)
    yaml = block("yaml", "my/books.csv")
    assert len([line for line in yaml.splitlines() if line.strip()]) == 5
    Path("books.yaml").write_text(yaml, encoding="utf-8")
    few = ["rl.steps=2", "rl.prompts_per_step=2", "sft.epochs=3", "tokenizer.epochs=3"]
    few.append("baselines.sasrec.epochs=2")
    call(monkeypatch, "run", "books.yaml", *few)
    call(monkeypatch, "inspect", "runs/books")
    printed = capsys.readouterr().out
    models = [*BaselinesConfig().models, "sft", "rl"]
    assert [line.split()[0] for line in printed.splitlines()[2 : 2 + len(models)]] == models
    call(monkeypatch, *line_with("sidrec compare runs/books/").split()[2:])
    assert "minus sasrec" in capsys.readouterr().out
    assert (tmp_path / "runs" / "books" / "evaluate" / "rl" / "metrics.json").is_file()


def figures(table: str) -> dict[str, list[float]]:
    """Model -> HR@10 and NDCG@10 of a result table."""
    rows = [line.split() for line in table.splitlines() if "[" in line and line[0].isalpha()]
    return {row[0]: [float(row[1]), float(row[4])] for row in rows if "valid" not in row}


@pytest.mark.slow
def test_the_demo_prints_what_readme_shows(tmp_path):
    """To the digit on the processor that README's run was made on; on another, nearly."""

    def printed(*arguments: str) -> str:
        """Run Python as README's reader does: two threads, on which the last digits depend."""
        environment = os.environ | {"OMP_NUM_THREADS": "2"}
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    demo = f"{tmp_path}/demo"
    table = printed("-m", "sidrec", "demo", f"output={demo}")
    found, shown = figures(table), figures(block("console", "make demo"))
    assert list(found) == list(shown)
    for model, values in shown.items():
        assert found[model] == pytest.approx(values, abs=0.03)
    shown = block("console", "$ .venv/bin/sidrec recommend runs/demo")
    first, _, rest = shown.partition("\n")
    listed = printed("-m", *first.replace("runs/demo", demo).removeprefix("$ .venv/bin/").split())
    assert listed.splitlines()[0].split() == rest.splitlines()[0].split()
    assert [line.split()[0] for line in listed.splitlines()[2:]] == ["1", "2", "3", "4", "5"]
    code = block("python", "from sidrec import Recommender").replace("runs/demo", demo)
    assert len(printed("-c", code).splitlines()) == len(block("text", "mu-0037").splitlines())
