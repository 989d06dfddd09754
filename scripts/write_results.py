"""Put the tables of a sweep into docs/results.md, between the marks of a section.

    python scripts/write_results.py scientific runs/scientific-seeds

What is written around the marks stays. Rows are models, over all seeds that have finished.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from statistics import mean
from typing import Any

from sidrec.comparison import Comparison, compare
from sidrec.metrics import Interval

DOCS = Path("docs/results.md")
OURS = "tokenizer.method=rqvae"
BASELINES = (
    "popularity",
    "recent_popularity",
    "repeat_history",
    "item_knn",
    "text_knn",
    "gru4rec",
    "sasrec_bce",
    "sasrec",
)
MODELS = {
    **{name: (OURS, f"baselines/{name}") for name in BASELINES},
    "SFT": (OURS, "evaluate/sft"),
    "RL": (OURS, "evaluate/rl"),
    "SFT, shuffled SIDs": ("tokenizer.method=shuffled", "evaluate/sft"),
    "SFT, random SIDs": ("tokenizer.method=random", "evaluate/sft"),
    "RL, shuffled targets": ("rl.shuffle_targets=true/rl.keep=rl", "evaluate/rl"),
}
WITHOUT_HISTORY = "evaluation.exclude_history=true"
SLICED = ("item_knn", "text_knn", "sasrec", "SFT", "RL", "SFT, shuffled SIDs", "SFT, random SIDs")
KINDS = {
    "popularity": "by how often the target was had in train",
    "history_length": "by the length of the history",
    "arrival": "by the target's place in the catalogue",
}


def main() -> None:
    """Write the tables of one section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("section", help="name of the marks in docs/results.md")
    parser.add_argument("sweep", type=Path, help="directory of the sweep")
    options = parser.parse_args()
    found = {name: seeds(options.sweep / group, place) for name, (group, place) in MODELS.items()}
    found = {name: directories for name, directories in found.items() if directories}
    if "sasrec" not in found:
        sys.exit(f"{options.sweep} holds no {OURS}/seed=*/baselines/sasrec to compare with.")
    order = ["sasrec", *(name for name in found if name != "sasrec")]
    arguments = [",".join(map(str, found[name])) for name in order]
    comparison = compare(arguments, names=order, slices=tuple(KINDS), samples=5000)
    parts = [main_table(comparison, found, options.sweep), controls_table(found)]
    parts += [*map_slices(comparison), lists_table(found)]
    write_section(DOCS, options.section, "\n\n".join(parts))


def write_section(path: Path, section: str, text: str) -> None:
    """Put text between the marks of a section."""
    begin, end = f"<!-- {section}: tables -->", f"<!-- {section}: end of tables -->"
    head, _, rest = path.read_text(encoding="utf-8").partition(begin)
    _, _, tail = rest.partition(end)
    if not tail:
        sys.exit(f"{path} has no {begin} followed by {end}.")
    path.write_text(f"{head}{begin}\n\n{text}\n\n{end}{tail}", encoding="utf-8")


def seeds(group: Path, place: str) -> list[Path]:
    """Return the finished results of a model, seed by seed."""
    return sorted(path.parent for path in group.glob(f"seed=*/{place}/manifest.json"))


def facts(directories: list[Path]) -> list[dict[str, Any]]:
    """Return the metrics of every seed."""
    return [json.loads((each / "metrics.json").read_text(encoding="utf-8")) for each in directories]


def main_table(found: Comparison, directories: dict[str, list[Path]], sweep: Path) -> str:
    """Compare the models: one row each, in the order of `MODELS`."""
    header = [
        "model",
        "seeds",
        "HR@10",
        "NDCG@10",
        "sd",
        "minus sasrec",
        "",
        "history left out",
        "parameters",
    ]
    header += ["CPU minutes"]
    place = {group.label: number for number, group in enumerate(found.groups)}
    rows = []
    for name in directories:
        *figures, parameters, minutes = model_cells(found, place[name], directories[name])
        rows.append([*figures, left_out(sweep, name), parameters, minutes])
    users = f"{found.users:,} users, split `{found.split_sha256[:8]}`. "
    return users + "NDCG@10 is compared with that of sasrec, paired over users.\n\n" + pipes(header, rows)


def model_cells(found: Comparison, row: int, directories: list[Path]) -> list[str]:
    """Say of a model its name, seeds, HR@10, NDCG@10 with its deviation, difference to the first and verdict,
    parameters and CPU minutes.
    """
    hr, ndcg = found.metrics
    estimate = ndcg.estimates[row]
    versus = ndcg.versus[row - 1] if row else None
    all_facts = facts(directories)
    return [
        found.groups[row].label,
        str(estimate.seeds),
        interval(hr.estimates[row].interval),
        interval(estimate.interval),
        "" if estimate.sd is None else short(estimate.sd),
        "" if versus is None else interval(versus.difference.interval, sign="+"),
        "" if versus is None else versus.verdict,
        amount([each.get("parameters") for each in all_facts], "{:,.0f}"),
        amount([each.get("training_cpu_seconds") for each in all_facts], "{:.1f}", per=60),
    ]


def controls_table(directories: dict[str, list[Path]]) -> str:
    """Compare what was made of the same SFT, or with other semantic IDs, with SFT."""
    order = ["SFT", *(name for name in directories if name.startswith(("RL", "SFT, ")))]
    found = compare([",".join(map(str, directories[name])) for name in order], names=order, samples=5000)
    _, ndcg = found.metrics
    rows = [
        [name, interval(versus.difference.interval, sign="+"), versus.verdict]
        for name, versus in zip(order[1:], ndcg.versus, strict=True)
    ]
    return "The same, compared with SFT:\n\n" + pipes(["NDCG@10", "minus SFT", ""], rows)


def left_out(sweep: Path, name: str) -> str:
    """Return NDCG@10 with items of the history left out of the lists, mean over seeds."""
    group, place = MODELS[name]
    figures = facts(seeds(sweep / WITHOUT_HISTORY, place)) if group == OURS else []
    return amount([each["item_level"]["ndcg@10"]["value"] for each in figures], "{:.4f}").removeprefix("0")


def map_slices(found: Comparison) -> list[str]:
    """Give NDCG@10 in every slice, with intervals; the difference to sasrec stands below it."""
    tables = []
    for kind, what in KINDS.items():
        parts, header = parts_of(found, kind)
        rows = []
        for row, group in enumerate(found.groups):
            if group.label in SLICED:
                cells = [interval(part.estimates[row].interval) for part in parts]
                rows.append([group.label, *cells])
                if row:
                    cells = [interval(part.differences[row - 1].interval, sign="+") for part in parts]
                    rows.append(["minus sasrec", *cells])
        tables.append(f"Users {what}:\n\n" + pipes(header, rows))
    return tables


def parts_of(found: Comparison, kind: str) -> tuple[list[Any], list[str]]:
    """Return NDCG@10 in the slices of a kind that have users, and the header that says what they are."""
    parts = [part for part in found.slices if (part.kind, part.metric) == (kind, "ndcg@10") and part.users]
    described = describe(found, kind)
    return parts, [
        "NDCG@10",
        *(f"{part.name}, {part.users:,} users{described[part.name]}" for part in parts),
    ]


def describe(found: Comparison, kind: str) -> dict[str, str]:
    """Return what each slice is, as metrics.json says it."""
    metrics = facts([found.groups[0].results[0].directory])[0]
    return {name: f": {part['what']}" for name, part in metrics["slices"][kind].items()}


def lists_table(directories: dict[str, list[Path]]) -> str:
    """Say what the lists are beside accurate, mean over seeds."""
    names = ("coverage@10", "gini@10", "novelty@10", "diversity@10", "history_share@10", "invalid_items")
    rows = []
    for model, places in directories.items():
        all_facts = facts(places)
        rows.append([model, *(amount([each[name] for each in all_facts], "{:.3g}") for name in names)])
    return "What the lists are beside accurate:\n\n" + pipes(["model", *names], rows)


def amount(values: list[float | None], form: str, *, per: float = 1) -> str:
    """Write the mean of what all seeds give, or nothing."""
    given = [value for value in values if value is not None]
    return form.format(mean(given) / per) if given and len(given) == len(values) else ""


def interval(found: Interval, *, sign: str = "") -> str:
    """Write `.0665 [.0612, .0718]`."""
    value, low, high = (short(each, sign) for each in (found.value, found.low, found.high))
    return f"{value} [{low}, {high}]"


def short(value: float, sign: str = "") -> str:
    """Write four digits, without the zero before the point."""
    return f"{value:{sign}.4f}".replace("0.", ".", 1) if abs(value) < 1 else f"{value:.4f}"


def pipes(header: list[str], rows: list[list[str]]) -> str:
    """Write a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


if __name__ == "__main__":
    main()
