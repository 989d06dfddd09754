"""Every task of a table is trained on, and what it reads is part of the stage."""

import json
from pathlib import Path

import pandas as pd
import toy

import sidrec
from sidrec.config import Config, load_config
from sidrec.stages.run import load_run
from sidrec.stages.sft import stage_of
from sidrec.tasks.wordings import BUILT_IN


def config_with_users(folder: Path, *settings: str, preference: str = "Likes what comes next.") -> Config:
    path = toy.write(folder, sft={"epochs": 0.1, "evaluations": 1, "validation_users": 5})
    users = pd.DataFrame({"user_id": [f"u{user}" for user in range(toy.NUM_USERS)], "preference": preference})
    users.to_csv(folder / "users.csv", index=False)
    return load_config(path, [f"catalog.users={folder / 'users.csv'}", "tokenizer.epochs=2", *settings])


def test_all_built_in_tasks_and_one_of_ones_own_are_trained_together(tmp_path: Path) -> None:
    table = dict.fromkeys(BUILT_IN, 1) | {
        "mine": {"prompt": "After {history} comes", "completion": "{title}"}
    }
    config = config_with_users(tmp_path, f"sft.tasks={json.dumps(table)}")
    sidrec.tokenize(config)
    sidrec.sft(config)
    metrics = json.loads((config.output / "sft" / "metrics.json").read_text())
    # 60 users with 4 train items each have 3 targets after another item; 24 items.
    per_target, per_item = 60 * 3, 24
    assert {name: task["rows"] for name, task in metrics["tasks"].items()} == {
        "next_item": 60,
        "item_to_title": per_item,
        "title_to_item": per_item,
        "description_to_item": per_item,
        "history_to_title": per_target,
        "titles_to_item": per_target,
        "titles_to_title": per_target,
        "preference_to_item": 60 * 4,
        "mine": per_target,
    }
    assert {task["truncated"] for task in metrics["tasks"].values()} == {0}
    assert len(sidrec.Recommender.from_pretrained(config.output).recommend(["i03"], k=5)) == 5


def test_another_preference_of_a_user_is_another_catalogue(tmp_path: Path) -> None:
    first, second = (
        config_with_users(tmp_path / name, preference=f"Likes {name}.") for name in ("tea", "coffee")
    )
    hashes = set()
    for config in (first, second):
        sidrec.tokenize(config)
        hashes.add(load_run(config).catalog.sha256)
    assert len(hashes) == 2


def test_a_column_that_a_task_reads_decides_whether_sft_is_redone(tmp_path: Path) -> None:
    prints = {}
    for price in ("1", "2"):
        for table in (
            "{next_item: 1}",
            '{next_item: 1, mine: {prompt: "{price} euros", completion: "{sid}"}}',
        ):
            folder = tmp_path / price
            path = toy.write(folder)
            toy.items().assign(price=price).to_csv(folder / "items.csv", index=False)
            config = load_config(path, ["tokenizer.epochs=1", f"sft.tasks={table}"])
            sidrec.tokenize(config)
            prints[price, "mine" in table] = stage_of(config, load_run(config)).fingerprint
    assert prints["1", False] == prints["2", False]
    assert prints["1", True] != prints["2", True]
