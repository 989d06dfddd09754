"""`scripts/embed_with_ray.py`: what two workers of Ray make is what one process makes, byte by byte."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import toy
from models import save_encoder

from sidrec.config import load_config
from sidrec.embedding.vectors import embed_more
from sidrec.stages.tokenization import tokenize
from tokenizer.model_file import open_model

pytest.importorskip("ray", reason='Ray is not there: pip install "sidrec[ray]"')
pytestmark = pytest.mark.slow
SCRIPT = Path(__file__).parents[1] / "scripts" / "embed_with_ray.py"


def ray(*arguments: object) -> subprocess.CompletedProcess:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, str(SCRIPT), *map(str, arguments), "--workers", "2"]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=300)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A toy catalogue whose texts a small model reads, two at a time and sixteen to a chunk."""
    model = save_encoder(tmp_path / "model", "bert")
    embedding = {"method": "transformer", "model": str(model), "batch_size": 2}
    return toy.write(tmp_path, embedding=embedding)


def test_two_workers_give_the_bytes_of_one_process(config: Path, tmp_path: Path):
    alone = load_config(config, [f"output={tmp_path / 'alone'}"])
    tokenize(alone)
    shared = load_config(config, [f"output={tmp_path / 'shared'}"])
    ended = ray("embed", config, f"output={tmp_path / 'shared'}")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("24 texts read.")
    caches = [
        {path.name: path.read_bytes() for path in (run.output / "cache").rglob("*.npy")}
        for run in (alone, shared)
    ]
    assert len(caches[0]) == 2  # of 16 and 8 texts
    assert caches[0] == caches[1]
    tokenize(shared)
    for name in ("embeddings.npy", "semantic_ids.parquet"):
        assert (alone.output / "tokenize" / name).read_bytes() == (
            shared.output / "tokenize" / name
        ).read_bytes()
    assert ray("embed", config, f"output={tmp_path / 'shared'}").stdout.startswith("0 texts read.")


def test_two_workers_encode_as_one_process(config: Path, tmp_path: Path):
    run = load_config(config)
    tokenize(run)
    new = pd.DataFrame(
        {
            "item_id": [f"n{n}" for n in range(5)],
            "title": [f"green thing {n}" for n in range(5)],
            "description": "A thing",
        }
    )
    new.to_csv(tmp_path / "new.csv", index=False)
    ended = ray("encode", run.output, tmp_path / "new.csv", "--out", tmp_path / "codes.parquet")
    assert ended.returncode == 0, ended.stderr
    items = new.assign(text=[f"green thing {n}. A thing" for n in range(5)])
    vectors = embed_more(items, run.embedding, fitted=run.output / "tokenize", cache=None)
    codes = open_model(run.output / "tokenize" / "tokenizer.safetensors").encode(vectors)
    found = pd.read_parquet(tmp_path / "codes.parquet")
    assert found["item_id"].tolist() == new["item_id"].tolist()
    np.testing.assert_array_equal(found[["code_0", "code_1", "code_2"]].to_numpy(), codes)


def test_a_config_that_is_wrong_is_refused(tmp_path: Path):
    ended = ray("embed", tmp_path / "no.yaml")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "does not exist" in ended.stderr
