#!/usr/bin/env python3
"""Draw the six pictures of docs/concepts.md from a demo run: its catalogue, its codes, its model.

Usage: make demo; python scripts/draw_concepts.py [RUN] [DIRECTORY]

RUN (runs/demo) needs `tokenize` and `sft`. A picture in which two texts overlap is refused.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
import torch
from concept_sheet import AMBER, BLUE, CREAM, GREEN, GREY, INK, LINE, MINT, PALE, SOFT, Sheet

from sidrec import Recommender
from sidrec.report.opening import Measured, OpenRun, open_run
from sidrec.report.search_path import Branch, SearchPath, find_search_path
from sidrec.rewards import Rollouts, combine_rewards, group_advantages
from tokenizer.model import Model
from tokenizer.model_file import open_model
from tokenizer.semantic_ids import sid_token

NUM_BEAMS, GROUP, LISTED, WIDTH = 20, 16, 7, 960


@dataclass(frozen=True)
class User:
    """The user in the pictures.

    Attributes:
        user_id: As in the catalogue.
        items: Six catalogue rows, oldest first: train, then one of valid, then the test target.
        found: Rows of the items recommended after the first five, best first.
    """

    user_id: str
    items: list[int]
    found: list[int]


def choose_user(run: OpenRun, recommender: Recommender) -> User:
    """Return the first test user with six events whose target stands second to fifth in the list."""
    ids = run.semantic_ids.item_ids
    row_of = {item_id: row for row, item_id in enumerate(ids)}
    for row in range(len(run.split.test)):
        history, target = run.split.test.histories[row], int(run.split.test.targets[row])
        items = [*history.tolist(), target]
        if len(items) != 6 or len(set(items)) < 6 or max(len(run.titles[item]) for item in items) > 46:
            continue
        listed = recommender.recommend([ids[item] for item in items[:-1]], k=GROUP)
        found = [row_of[each.item_id] for each in listed]
        if target in found[1:5]:
            return User(run.split.test.user_ids[row], items, found)
    raise SystemExit("No user of this run fits the pictures; take the demo's: make demo")


def tokens_of(run: OpenRun, item: int) -> list[str]:
    """Return the SID tokens of an item."""
    return [sid_token(level, int(code)) for level, code in enumerate(run.semantic_ids.codes[item])]


def cut(words: str, length: int) -> str:
    """Shorten a title to a length in characters."""
    return words if len(words) <= length else words[: length - 1].rstrip() + "…"


def draw_catalogue(run: OpenRun, user: User) -> Sheet:
    """Two tables, and what becomes of one user's events."""
    sheet = Sheet(WIDTH, 330, "1  A catalogue is two tables")
    events = run.catalog.interactions
    days = events.loc[events["user_id"] == user.user_id, "timestamp"]
    dates = np.array(sorted(days), dtype="datetime64[s]").astype("datetime64[D]").astype(str)
    sheet.text(20, 62, "items", weight="bold")
    sheet.text(455, 62, "interactions of one user, oldest first", weight="bold")
    parts = ["train"] * 4 + ["valid", "test"]
    fills = {"train": (PALE, BLUE), "valid": (CREAM, AMBER), "test": (MINT, GREEN)}
    for place, (item, date, part) in enumerate(zip(user.items, dates, parts, strict=True)):
        y = 92 + 34 * place
        item_id, title = run.semantic_ids.item_ids[item], run.titles[item]
        sheet.text(20, y, item_id, mono=True, size=11.5)
        sheet.text(100, y, cut(title, 46), size=11.5)
        fill, edge = fills[part]
        sheet.box(445, y - 15, 365, 30, fill=fill, edge=edge)
        sheet.text(455, y, user.user_id, mono=True, size=11.5)
        sheet.text(535, y, item_id, mono=True, size=11.5)
        sheet.text(625, y, date, mono=True, size=11.5)
        sheet.text(740, y, part, size=11.5, colour=edge, weight="bold")
    sheet.text(825, 92 + 34 * 1.5, "learnt from", colour=SOFT)
    sheet.text(825, 92 + 34 * 4, "choices", colour=SOFT)
    sheet.text(825, 92 + 34 * 5, "the result", colour=SOFT)
    n_users, n_items = run.catalog.num_users, run.catalog.num_items
    sheet.text(20, 306, f"{n_items} items, {n_users:,} users, {len(events):,} events", colour=SOFT)
    sheet.text(445, 306, "the last event of every user is test, the one before valid", colour=SOFT)
    return sheet


def draw_codes(run: OpenRun, user: User, model: Model, vectors: np.ndarray) -> Sheet:
    """What a code of each level is: the code vector that is nearest to what the levels before left over."""
    item = user.items[0]
    sheet = Sheet(WIDTH, 420, f"2  A semantic ID says where an item lies: “{cut(run.titles[item], 40)}”")
    left, codes = model.latents(vectors), model.encode(vectors)
    whole = np.square(left - left.mean(axis=0)).sum()
    shown = np.random.default_rng(0).permutation(len(left))[:150]
    for level, book in enumerate(model.codebooks()):
        panel = sheet.figure.add_axes((0.025 + 0.325 * level, 0.2, 0.3, 0.6))
        _, _, axes = np.linalg.svd(left - left.mean(axis=0), full_matrices=False)
        flat = (left @ axes[:2].T)[shown], book @ axes[:2].T, left[item] @ axes[:2].T
        chosen = flat[1][codes[item, level]]
        panel.scatter(*flat[0].T, s=7, c="#b9c0cf", lw=0)
        panel.scatter(*flat[1].T, s=16, c=BLUE, marker="x", lw=0.8)
        panel.scatter(*chosen, s=120, fc="none", ec=GREEN, lw=1.6)
        panel.scatter(*flat[2], s=46, c=AMBER, marker="o", ec="#ffffff", lw=0.8, zorder=3)
        panel.set(xticks=[], yticks=[])
        for spine in panel.spines.values():
            spine.set_color(LINE)
        x = 24 + 312 * level
        what = "latents of the items" if level == 0 else "what is left after the level before"
        sheet.text(x, 64, f"level {'abc'[level]}: {what}", size=11.5, weight="bold")
        left = left - book[codes[:, level]]
        share = 1 - np.square(left - left.mean(axis=0)).sum() / whole
        token = sid_token(level, int(codes[item, level]))
        sheet.text(x, 352, f"{token} is nearest; explained so far: {share:.0%}", size=11.5)
    sheet.axes.scatter([30], [392], s=40, c=AMBER)
    sheet.text(42, 392, "the item", colour=SOFT)
    sheet.axes.scatter([142], [392], s=20, c="#b9c0cf")
    sheet.text(154, 392, "other items (150 of them)", colour=SOFT)
    sheet.axes.scatter([362], [392], s=20, c=BLUE, marker="x", lw=1)
    sheet.text(374, 392, "code vectors", colour=SOFT)
    sheet.axes.scatter([492], [392], s=80, fc="none", ec=GREEN, lw=1.6)
    sheet.text(508, 392, "the nearest in all 32 dimensions, of which two are drawn", colour=SOFT)
    return sheet


def draw_collisions(run: OpenRun, model: Model, vectors: np.ndarray) -> Sheet:
    """A group of items with equal codes, and what becomes of it."""
    sheet = Sheet(WIDTH, 270, "3  No two items share a semantic ID")
    before, after = model.encode(vectors), run.semantic_ids.codes
    _, group_of, sizes = np.unique(before, axis=0, return_inverse=True, return_counts=True)
    groups = [np.flatnonzero(group_of == group) for group in np.flatnonzero(sizes == 4)]
    different = [rows for rows in groups if len({run.titles[row] for row in rows}) == len(rows)]
    group = min(different, key=lambda rows: max(len(run.titles[row]) for row in rows))
    sheet.text(20, 62, "items with equal codes", weight="bold")
    sheet.text(560, 62, "as the RQ-VAE gave them", weight="bold", at="center")
    sheet.text(825, 62, "one each", weight="bold", at="center")
    for place, row in enumerate(group):
        y = 96 + 38 * place
        sheet.text(20, y, cut(run.titles[row], 48), size=11.5)
        for level in range(before.shape[1]):
            token, new = sid_token(level, int(before[row, level])), sid_token(level, int(after[row, level]))
            moved = token != new
            sheet.chip(452 + 72 * level, y, token, width=66)
            sheet.chip(
                717 + 72 * level,
                y,
                new,
                width=66,
                fill=CREAM if moved else PALE,
                edge=AMBER if moved else BLUE,
            )
        sheet.arrow((672, y), (710, y))
    moved = int((before != after).any(axis=1).sum())
    sheet.text(
        20,
        246,
        f"{moved} of {len(after)} items were moved to a free code nearby, those whose move costs least; "
        "the rest keep theirs",
        colour=SOFT,
    )
    return sheet


def draw_alignment(run: OpenRun, user: User) -> Sheet:
    """The rows that a model is aligned with: tokens, and which of them have a loss."""
    sheet = Sheet(WIDTH, 300, "4  A language model learns to continue histories")
    sheet.text(20, 64, "next item", weight="bold")
    for place, item in enumerate(user.items[:4]):
        for level, token in enumerate(tokens_of(run, item)):
            sheet.chip(110 + 210 * place + 66 * level, 64, token, width=62, fill=MINT, edge=GREEN)
        sheet.text(110 + 210 * place, 90, cut(run.titles[item], 27), size=10.5, colour=SOFT)
    item = user.items[0]
    title = cut(run.titles[item], 46)
    for y, name in ((142, "ID to title"), (196, "title to ID")):
        sheet.text(20, y, name, weight="bold")
        asked, answered = (PALE, BLUE), (MINT, GREEN)
        ids, words = (asked, answered) if name == "ID to title" else (answered, asked)
        start = 110 if name == "ID to title" else 560
        for level, token in enumerate(tokens_of(run, item)):
            sheet.chip(start + 66 * level, y, token, width=62, fill=ids[0], edge=ids[1])
        left = 352 if name == "ID to title" else 110
        sheet.box(left, y - 14, 400, 28, fill=words[0], edge=words[1])
        sheet.text(left + 200, y, title, size=11.5, at="center")
        ends = ((312, y), (346, y)) if name == "ID to title" else ((516, y), (554, y))
        sheet.arrow(*ends)
    sheet.box(20, 250, 18, 18, fill=MINT, edge=GREEN)
    sheet.text(46, 259, "written by the model: has a loss", colour=SOFT)
    sheet.box(290, 250, 18, 18, fill=PALE, edge=BLUE)
    sheet.text(316, 259, "read only", colour=SOFT)
    sheet.text(410, 259, "a code competes with the codes that may follow in the catalogue", colour=SOFT)
    return sheet


def draw_group(run: OpenRun, user: User) -> Sheet:
    """A group of rollouts, what each is worth, and which way it is pushed."""
    items, target = torch.tensor([user.found]), torch.tensor([user.items[-1]])
    parts = combine_rewards(Rollouts(items, target), {"rule": 1.0, "ranking": 1.0})
    advantages = group_advantages(parts.total)[0].tolist()
    sheet = Sheet(WIDTH, 390, "5  Reinforcement learning compares the answers to one prompt")
    columns = {"rank": 20, "item": 70, "rule": 510, "ranking": 585, "advantage": 790}
    for name, x in columns.items():
        at = "center" if name == "advantage" else "left"
        sheet.text(x, 62, name, weight="bold", at=at)
    for place in range(LISTED + 1):
        y, item = 94 + 32 * place, user.found[place]
        hit = item == user.items[-1]
        if hit:
            sheet.box(14, y - 15, 640, 30, fill=MINT, edge=GREEN)
        sheet.text(columns["rank"] + 6, y, str(place + 1), size=11.5)
        words = cut(run.titles[item], 50) + (" (the target)" if hit else "")
        sheet.text(columns["item"], y, words, size=11.5)
        for name in ("rule", "ranking"):
            value = float(parts.parts[name][0, place])
            sheet.text(columns[name], y, f"{value:+.3f}", size=11.5, mono=True)
        length = 32 * advantages[place]
        colour = GREEN if length > 0 else AMBER
        sheet.box(790 + min(length, 0), y - 8, max(abs(length), 2), 16, fill=colour, edge=colour)
        x = 790 + length + (10 if length > 0 else -10)
        sheet.text(
            x, y, f"{advantages[place]:+.2f}", size=11, at="left" if length > 0 else "right", mono=True
        )
    sheet.line((790, 76), (790, 94 + 32 * LISTED + 16))
    sheet.text(
        20,
        366,
        f"the first {LISTED + 1} of {GROUP} beams; advantage = (reward - mean) / deviation of the group",
        colour=SOFT,
    )
    return sheet


def draw_search(run: OpenRun, user: User, path: SearchPath) -> Sheet:
    """The prefixes that a beam search kept on each level, and the items at their ends."""
    sheet = Sheet(WIDTH, 400, "6  Beam search over the trie finds the items")
    places: dict[tuple[str, ...], tuple[float, float]] = {(): (76, 200)}
    sheet.box(14, 184, 60, 32, fill=PALE, edge=BLUE)
    sheet.text(44, 200, "prompt", size=11.5, at="center")
    target = tuple(tokens_of(run, user.items[-1]))
    for level, step in enumerate(path.levels):
        x = 140 + 180 * level
        sheet.text(x - 4, 62, f"{step.open:,} may follow, {step.kept} kept", size=11, colour=SOFT)
        for place, branch in enumerate(step.branches[:LISTED]):
            y = 96 + 40 * place
            prefix = tuple(branch.tokens)
            on_path = prefix == target[: level + 1]
            parent = places.get(prefix[:-1])
            if parent is not None:
                colour, width = (GREEN, 1.8) if on_path else (LINE, 1.0)
                sheet.line(parent, (x - 4, y), colour=colour, width=width)
            draw_branch(sheet, branch, (x, y), on_path=on_path)
            places[prefix] = (x + 104, y)
            if level == len(path.levels) - 1:
                colour, weight = (GREEN, "bold") if on_path else (INK, "normal")
                sheet.text(x + 118, y, cut(branch.example, 46), size=11.5, colour=colour, weight=weight)
    sheet.text(
        20,
        380,
        f"the best {LISTED} of {path.num_beams} beams; beside each the log-probability of the whole prefix, "
        "in nats; green leads to what the user had next",
        size=12,
        colour=SOFT,
    )
    return sheet


def draw_branch(sheet: Sheet, branch: Branch, at: tuple[float, float], *, on_path: bool) -> None:
    """Draw the last code of a prefix and the score of all of it."""
    fill, edge = (MINT, GREEN) if on_path else (PALE, BLUE)
    sheet.chip(at[0], at[1], branch.tokens[-1], width=62, fill=fill, edge=edge)
    sheet.text(at[0] + 68, at[1], f"{branch.total:.1f}", size=10.5, colour=GREY)


def main(directory: Path, target: Path) -> None:
    """Draw all six."""
    matplotlib.rcParams |= {"svg.hashsalt": "sidrec", "svg.fonttype": "path", "font.family": "DejaVu Sans"}
    run, recommender = open_run(directory), Recommender.from_pretrained(directory / "sft")
    user = choose_user(run, recommender)
    model = open_model(directory / "tokenize" / "tokenizer.safetensors")
    vectors = np.load(directory / "tokenize" / "embeddings.npy")
    measured = Measured("sft", directory / "sft", {"num_beams": NUM_BEAMS})
    path = find_search_path(run, measured, np.array(user.items[:-1]), user.items[-1])
    if not isinstance(path, SearchPath):
        raise SystemExit(path.why)
    sheets = {
        "catalogue": draw_catalogue(run, user),
        "codes": draw_codes(run, user, model, vectors),
        "collisions": draw_collisions(run, model, vectors),
        "alignment": draw_alignment(run, user),
        "group": draw_group(run, user),
        "search": draw_search(run, user, path),
    }
    target.mkdir(exist_ok=True)
    for name, sheet in sheets.items():
        sheet.save(target / f"{name}.svg")


if __name__ == "__main__":
    given = [Path(each) for each in sys.argv[1:]]
    main(*given, *[Path("runs/demo"), Path("docs/concepts")][len(given) :])
