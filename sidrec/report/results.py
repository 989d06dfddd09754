"""The table of a run, paired differences to its strongest baseline, and the verdict in three sentences."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sidrec.comparison import Comparison, compare
from sidrec.comparison.differences import Versus
from sidrec.errors import SidrecError
from sidrec.report.opening import Absent, Measured, OpenRun
from sidrec.stages.pipeline import ResultRow, notes, results


@dataclass(frozen=True)
class TableRow:
    """A model's line of the main table.

    Attributes:
        result: Its figures.
        versus: Against the reference in NDCG; None for the reference, and where it is not compared.
        is_shown: Whether it is the model that the report is about.
    """

    result: ResultRow
    versus: Versus | None
    is_shown: bool


@dataclass(frozen=True)
class Results:
    """The main table and what is said of it.

    Attributes:
        rows: In the order of `sidrec run`.
        k: Depth of the figures.
        users: Test targets behind them.
        reference: What others are compared with: the strongest baseline, or SFT where there is none.
        is_baseline: Whether the reference is a baseline.
        comparison: Why there are no differences, where there are none.
        command: Prints the same differences.
        left_out: Results that cannot be compared.
        verdict: Three sentences.
        notes: What must be said beside the table.
    """

    rows: list[TableRow]
    k: int
    users: int
    reference: str
    is_baseline: bool
    comparison: Comparison | Absent
    command: str
    left_out: list[str]
    verdict: list[str]
    notes: list[str]


def gather_results(run: OpenRun) -> Results | Absent:
    """Read the table of a run and compare every result with the reference."""
    table = results(run.directory)
    if not table:
        return Absent("Nothing is evaluated yet. Run: sidrec baselines and sidrec evaluate.")
    k, users = table[0].k, run.results[0].metrics["users"]
    reference = reference_of(run)
    others = [each for each in run.results if each is not reference and _is_comparable(each, reference)]
    left_out = [each.label for each in run.results if not _is_comparable(each, reference)]
    found = compare_with(reference, others, k)
    versus = {} if isinstance(found, Absent) else _by_label(found, f"ndcg@{k}")
    shown = run.shown
    return Results(
        rows=[
            TableRow(row, versus.get(row.model), shown is not None and row.model == shown.label)
            for row in table
        ],
        k=k,
        users=users,
        reference=reference.label,
        is_baseline=reference in run.baselines,
        comparison=found,
        command=" ".join(["sidrec compare", *(_quoted(each.directory) for each in (reference, *others))]),
        left_out=left_out,
        verdict=_verdict(run, table, reference, versus),
        notes=notes(run.directory),
    )


def reference_of(run: OpenRun) -> Measured:
    """Return the baseline of the highest NDCG on test, the hardest to beat; without any the first result."""
    return max(run.baselines or run.results[:1], key=_ndcg)


def compare_with(
    reference: Measured, others: list[Measured], k: int, slices: tuple[str, ...] = ()
) -> Comparison | Absent:
    """Compare results with the reference as `sidrec compare` does; absent with the reason it gives."""
    if not others:
        return Absent("There is no second result to compare with.")
    chosen = [reference, *others]
    try:
        return compare(
            [str(each.directory) for each in chosen],
            metrics=[f"hr@{k}", f"ndcg@{k}"],
            names=[each.label for each in chosen],
            slices=slices,
        )
    except SidrecError as error:
        return Absent(f"There are no paired differences: {error}")


def _is_comparable(result: Measured, reference: Measured) -> bool:
    """Whether both are of the same users and targets."""
    return all(result.metrics[name] == reference.metrics[name] for name in ("split_sha256", "users"))


def _ndcg(result: Measured) -> float:
    """Return NDCG at the depth that the slices have."""
    depth = max(k for k in (1, 3, 5, 10) if f"ndcg@{k}" in result.metrics["item_level"])
    value: float = result.metrics["item_level"][f"ndcg@{depth}"]["value"]
    return value


def _by_label(found: Comparison, metric: str) -> dict[str, Versus]:
    labels = [group.label for group in found.groups[1:]]
    versus = next(each.versus for each in found.metrics if each.metric == metric)
    return dict(zip(labels, versus, strict=True))


def _quoted(path: Path) -> str:
    text = str(path)
    return f"'{text}'" if " " in text else text


def _verdict(
    run: OpenRun, table: list[ResultRow], reference: Measured, versus: dict[str, Versus]
) -> list[str]:
    """Say how good the model is, whether it beats the reference, and what the figures can bear."""
    shown = run.shown
    if shown is None:
        return ["Only baselines are evaluated: train a model with sidrec sft, then run sidrec evaluate."]
    row = next(each for each in table if each.model == shown.label)
    by_chance = row.k / run.catalog.num_items
    return [
        f"The item that a user took next stands among the first {row.k} of {shown.label} in "
        f"{100 * row.hit_rate[0]:.1f} of 100 cases; {row.k} of the {run.catalog.num_items:,} items drawn at "
        f"random would hold it in {100 * min(1.0, by_chance):.1f}.",
        _against(shown.label, reference.label, versus, reference in run.baselines),
        _trust(run, row, shown),
    ]


def _against(shown: str, reference: str, versus: dict[str, Versus], is_baseline: bool) -> str:
    what = f"the strongest baseline, {reference}" if is_baseline else reference
    if shown not in versus:
        return f"It is not compared with a baseline: run sidrec baselines to know what {shown} is worth."
    found = versus[shown]
    interval = found.difference.interval
    told = {
        "better": f"It is better than {what}",
        "worse": f"It is worse than {what}",
        "not distinguishable": f"It cannot be told apart from {what}",
    }[found.verdict]
    return (
        f"{told}: NDCG differs by {interval.value:+.4f} (95% interval {interval.low:+.4f} to "
        f"{interval.high:+.4f}), with {found.wins:,} cases won and {found.losses:,} lost."
    )


def _trust(run: OpenRun, row: ResultRow, shown: Measured) -> str:
    problems = [problem for state in run.stages for problem in state.problems]
    lists = "every recommended item exists and none is listed twice"
    if row.invalid or row.duplicates:
        lists = f"{row.invalid:,} recommended items do not exist and {row.duplicates:,} are listed twice"
    files = "all files are those that were written"
    if problems:
        files = f"not all of the run fits together, so distrust it (Reproduce says what: {len(problems)})"
    return (
        f"The table rests on {shown.metrics['users']:,} test cases and one seed ({shown.metrics['seed']}), "
        f"so another training may give other figures; {lists}, and {files}."
    )
