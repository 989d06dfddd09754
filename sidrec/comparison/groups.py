"""From the arguments of `sidrec compare` to groups of results that may be compared, and their users."""

from __future__ import annotations

import glob
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from sidrec.comparison.labels import labels
from sidrec.comparison.results import TARGET_DIVIDER, Result, read_result
from sidrec.errors import ArtifactError, ConfigError, nearest


@dataclass(frozen=True, eq=False)
class Group:
    """One model of a comparison: S results that differ in their seed alone, and its name in the tables."""

    label: str
    results: tuple[Result, ...]

    @property
    def depth(self) -> int:
        """Length of the lists."""
        return self.results[0].depth


def read_groups(arguments: Sequence[str], names: Sequence[str] | None = None) -> list[Group]:
    """Read the results that are to be compared.

    Args:
        arguments: Of the command: each a directory, a pattern, or several of these with commas between.
        names: One per argument; left out, they are the parts in which the paths differ.

    Raises:
        ConfigError: If there are fewer than two arguments, one finds nothing or mixes what belongs apart, or
            the names do not fit.
        ArtifactError: If a directory is no result, or results are of different splits.
    """
    if len(arguments) < 2:
        raise ConfigError(
            f"sidrec compare needs two results or more, got {len(arguments)}. "
            "Name the one to compare with first: sidrec compare RUN/evaluate/sft RUN/evaluate/rl"
        )
    paths = [_find(argument) for argument in arguments]
    if names is not None:
        _check_names(names, len(paths))
    groups = []
    for argument, found, label in zip(arguments, paths, names or labels(paths), strict=True):
        results = sorted(map(read_result, found), key=lambda result: result.seed)
        _check_group(argument, results)
        groups.append(Group(label, tuple(results)))
    _check_split([result for group in groups for result in group.results])
    return groups


def align(groups: Sequence[Group]) -> tuple[pd.Index, list[np.ndarray]]:
    """Bring the users of all results into one order, that of their ids.

    Returns:
        The ids of the users that any result names (the others were recommended nothing and come last), and
        for each group (S, U) ranks, 0 for a miss.

    Raises:
        ArtifactError: If the results name more users than there are.
    """
    results = [result for group in groups for result in group.results]
    ids = pd.Index(sorted(set().union(*(result.ranks.index for result in results))))
    num_users = results[0].num_users
    if len(ids) > num_users:
        raise ArtifactError(
            f"{results[0].directory} has {num_users} users of split {results[0].split_sha256[:8]}, but the "
            f"results together name {len(ids)}. One was changed since it was written: rerun its stage."
        )

    def in_order(result: Result) -> np.ndarray:
        ranks = result.ranks.reindex(ids, fill_value=0).to_numpy()
        return np.pad(ranks, (0, num_users - len(ids))).astype(np.int64)

    return ids, [np.stack([in_order(result) for result in group.results]) for group in groups]


def users_of(groups: Sequence[Group], ids: pd.Index) -> np.ndarray | None:
    """Return (U,) numbers of the users whose targets `align` gives; None where each has one.

    Targets that no result names are given a user each.
    """
    first = groups[0].results[0]
    if not first.users_recur:
        return None
    known, _ = pd.factorize(ids.str.rsplit(TARGET_DIVIDER, n=1).str[0])
    more = first.num_users - len(ids)
    return np.concatenate([known, len(ids) + np.arange(more)]).astype(np.int64)


def slice_masks(groups: Sequence[Group], kind: str, ids: pd.Index) -> dict[str, np.ndarray]:
    """Divide the users by a kind of slices that all results agree on.

    Args:
        groups: Every result with its `users.parquet`.
        kind: As in metrics.json, such as "popularity".
        ids: U user ids, as `align` gives them.

    Returns:
        Name of the slice -> (U,) bool, in the order of metrics.json; a user may be in none.

    Raises:
        ConfigError: If a result has no such slices, or two divide the users differently.
    """
    results = [result for group in groups for result in group.results]
    columns = []
    for result in results:
        if result.slices is None:
            raise ConfigError(
                f"--slices {kind} needs to know every user's slice, but {result.directory} has no "
                "users.parquet. Leave --slices out, or rerun the stage that wrote it."
            )
        kinds = sorted(result.slices.columns)
        if kind not in kinds:
            raise ConfigError(
                f'--slices: {result.directory} has no slices by "{kind}".{nearest(kind, kinds)} '
                f"It has: {', '.join(kinds) or 'none'}."
            )
        columns.append(result.slices[kind].reindex(ids).to_numpy(dtype=object))
        moved = int(np.count_nonzero(columns[-1] != columns[0]))
        if moved:
            raise ConfigError(
                f"--slices {kind}: {results[0].directory} and {result.directory} put {moved} users into "
                "different slices, so there is nothing to compare slice by slice. Choose another kind."
            )
    names = dict.fromkeys([*results[0].slice_order.get(kind, []), *sorted(set(columns[0]) - {""})])
    return {name: columns[0] == name for name in names}


def _find(argument: str) -> list[Path]:
    """Return the directories that one argument names."""
    if Path(argument).is_dir():
        return [Path(argument)]
    found: list[Path] = []
    for part in argument.split(","):
        if Path(part).is_dir() or not glob.has_magic(part):
            found.append(Path(part))
            continue
        matches = [Path(match) for match in sorted(glob.glob(part)) if Path(match).is_dir()]
        if not matches:
            raise ConfigError(f'The pattern "{part}" matches no directory. Check the path.')
        found += matches
    return found


def _check_names(names: Sequence[str], num_results: int) -> None:
    if len(names) != num_results:
        raise ConfigError(
            f"--names gives {len(names)} names for {num_results} results. Give one for each, in their order."
        )
    if "" in names or len(set(names)) < len(names):
        raise ConfigError(f"--names {','.join(names)}: expected names that differ, none of them empty.")


def _check_group(argument: str, results: Sequence[Result]) -> None:
    """Refuse a group whose results differ in more than their seed, or not in that."""
    first = results[0]
    for what, of_first, others in (
        ("model", first.model, [result.model for result in results]),
        ("list length", first.depth, [result.depth for result in results]),
    ):
        other = next((row for row, each in enumerate(others) if each != of_first), None)
        if other is not None:
            raise ConfigError(
                f'"{argument}" stands for several seeds of one model, but its results differ in {what}: '
                f"{first.directory} has {of_first}, {results[other].directory} has {others[other]}. "
                "Name other models as results of their own."
            )
    for before, result in itertools.pairwise(results):
        if result.seed == before.seed:
            raise ConfigError(
                f"{before.directory} and {result.directory} both have seed {result.seed}, and the same seed "
                "twice is no independent evidence. Name one of them."
            )


def _check_split(results: Sequence[Result]) -> None:
    first = results[0]
    for result in results[1:]:
        if result.split_sha256 != first.split_sha256:
            raise ArtifactError(
                f"{first.directory} and {result.directory} are of different splits (sha256 "
                f"{first.split_sha256[:8]} and {result.split_sha256[:8]}), so their users or targets differ. "
                "Compare results of one split."
            )
        if result.num_users != first.num_users:
            raise ArtifactError(
                f"{first.directory} has {first.num_users} users and {result.directory} {result.num_users} of "
                "the same split. Evaluate both on the same users."
            )
