"""On Scientific, 3 x 256: no collision, hardly a code unused, the same codes for the same seed."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import Ended

from tokenizer.semantic_ids import SemanticIDs

REPO = Path(__file__).parents[1]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (REPO / "data" / "scientific").is_dir(), reason="data/scientific is absent: `make data`"
    ),
]
Command = Callable[..., Ended]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The vectors are computed once, in three minutes."""
    return tmp_path_factory.mktemp("vectors")


@pytest.mark.parametrize("method", ["rqvae", "rqkmeans", "balanced_rqkmeans"])
def test_semantic_ids_of_scientific_are_healthy(
    tmp_path: Path, method: str, cache: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(REPO)
    found = []
    for name in ("first", "again"):
        ended = command(
            "tokenize",
            REPO / "configs" / "scientific.yaml",
            f"tokenizer.method={method}",
            f"embedding.cache={cache}",
            f"output={tmp_path / name}",
        )
        assert ended.status == 0, ended.err
        found.append(SemanticIDs.load(tmp_path / name / "tokenize" / "semantic_ids.parquet"))
    assert found[0].sha256 == found[1].sha256
    assert found[0].collision_rate == 0
    for level in found[0].codes.T:
        assert len(np.unique(level)) >= 0.95 * 256
