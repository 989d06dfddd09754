"""A toy catalogue whose answer is known by construction: item i is followed by item i + 1."""

import csv
import shutil
from pathlib import Path

import pandas as pd
import yaml

NUM_ITEMS, NUM_USERS, LENGTH = 24, 60, 6
COLOURS = ["red", "green", "blue", "black"]
THINGS = ["lamp", "chair", "rug", "clock", "shelf", "mirror"]
YOUNG = {
    "sft": {"epochs": 1, "evaluations": 1},
    "rl": {"steps": 6, "prompts_per_step": 24, "num_generations": 16, "learning_rate": 1e-3},
}


def items() -> pd.DataFrame:
    names = [f"{colour} {thing}" for thing in THINGS for colour in COLOURS]
    return pd.DataFrame(
        {
            "item_id": [f"i{n:02d}" for n in range(NUM_ITEMS)],
            "title": names,
            "description": [f"A {name} for the home" for name in names],
        }
    )


def interactions() -> pd.DataFrame:
    """User u starts at item u mod N and takes the next items in turn."""
    rows = [
        {"user_id": f"u{user}", "item_id": f"i{(user + step) % NUM_ITEMS:02d}", "timestamp": 1000 + step}
        for user in range(NUM_USERS)
        for step in range(LENGTH)
    ]
    return pd.DataFrame(rows)


def settings(output: Path, data: Path) -> dict:
    """A config small enough for unit tests."""
    return {
        "output": str(output),
        "catalog": {
            "items": str(data / "items.csv"),
            "interactions": str(data / "interactions.csv"),
            "text": "{title}. {description}",
        },
        "embedding": {"dim": 16},
        "tokenizer": {"codebook_sizes": [4, 4, 4], "epochs": 30, "batch_size": 8, "hidden_dims": [16]},
        "model": {"text_vocabulary_size": 300},
        "sft": {
            "epochs": 12,
            "batch_size": 16,
            "evaluations": 3,
            "dropout": 0.1,
            "learning_rate": 3e-3,
            "tasks": {"next_item": 1, "title_to_item": 1, "item_to_title": 1},
            "weighting": "rows",
        },
        "rl": {"steps": 4, "prompts_per_step": 4, "num_generations": 4, "evaluations": 2},
        "evaluation": {"num_beams": 10, "bootstrap_samples": 100},
        "baselines": {
            "models": ["popularity", "item_knn", "sasrec"],
            "sasrec": {"hidden_dim": 8, "epochs": 2, "batch_size": 16},
        },
    }


def write(folder: Path, **changes: object) -> Path:
    """Write the tables and `config.yaml` into `folder`; return the config's path.

    `changes` replace top-level sections' keys, as `rl={"steps": 2}`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    items().to_csv(folder / "items.csv", index=False)
    interactions().to_csv(folder / "interactions.csv", index=False)
    config = settings(folder / "run", folder)
    for section, values in changes.items():
        config[section] = {**config.get(section, {}), **values} if isinstance(values, dict) else values
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    return path


def copy(run: Path, to: Path, *, without: tuple[str, ...] = ()) -> Path:
    """Copy a run and its tables into the folder `to`; return the path of a config for it."""
    path = write(to)
    shutil.copytree(run, to / "run", ignore=shutil.ignore_patterns(*without))
    return path


def contents(directory: Path) -> dict[str, bytes]:
    """Every file below a directory, by its path in it; empty when there is none."""
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


def history(content: bytes) -> list[dict[str, str]]:
    """The rows of a `history.csv`, without the columns that depend on the machine."""
    timed = ("seconds", "supervised_tokens_per_second", "tokens_per_second")
    rows = csv.DictReader(content.decode().splitlines())
    return [{name: row[name] for name in row if not name.startswith(timed)} for row in rows]
