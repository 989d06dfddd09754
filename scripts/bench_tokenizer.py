#!/usr/bin/env python3
"""How long tokenizers take, and what their codes are worth before a model is trained on them.

    python scripts/bench_tokenizer.py methods --vectors runs/scientific/tokenize/embeddings.npy
    python scripts/bench_tokenizer.py plain --vectors runs/scientific/tokenize/embeddings.npy
    python scripts/bench_tokenizer.py scale [--items 1000000] [--quantizers rqkmeans,rqvae]

`methods`: every quantizer on a file of vectors. `plain`: CPU seconds until an RQ-VAE reaches the error of a
plain
implementation: 10,000 full-batch epochs, k-means once at the start, dead codes left dead. `scale`: synthetic
clustered vectors in a memory-mapped file; each quantizer in a process of its own, so that its peak memory is
its own. CPU seconds, one thread.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from tokenizer.collisions.unique import collision_rate, make_unique
from tokenizer.estimator import Estimator
from tokenizer.neural.autoencoder import Autoencoder
from tokenizer.neural.train import fit_rqvae
from tokenizer.rqkmeans import OPQ, RQKMeans
from tokenizer.rqvae import RQVAE, RQKMeansPlus
from tokenizer.settings import RQVAESettings

WIDTH = 384
SIZES = (256, 256, 256)
QUANTIZERS: dict[str, Callable[[], Estimator]] = {
    "rqvae": RQVAE,
    "rqkmeans": RQKMeans,
    "balanced_rqkmeans": lambda: RQKMeans(balanced=True),
    "rqkmeans_plus": RQKMeansPlus,
    "opq": OPQ,
}
LONG = RQVAESettings(
    epochs=500,
    max_steps=10**9,
    batch_norm=True,
    batch_size=512,
    learning_rate=4e-3,
    schedule="cosine",
    weight_decay=0.0,
    dead_code_epochs=20,
)
"""For `plain`: tuned to reconstruct, not to rank. Batch normalization is what counts."""


def explained(model: Estimator, codes: np.ndarray, vectors: np.ndarray) -> float:
    """Give the share of the vectors' variance that the codes keep, block by block."""
    mean, error, variance = vectors.mean(axis=0), 0.0, 0.0
    for start in range(0, len(vectors), 65_536):
        part = vectors[start : start + 65_536]
        error += float(np.square(model.decode(codes[start : start + 65_536]) - part).sum())
        variance += float(np.square(part - mean).sum())
    return 1 - error / variance


def methods(vectors: np.ndarray) -> None:
    """Print a row per quantizer."""
    print(
        "| quantizer | CPU s | R2 | codes used, least level | collision rate before |\n|---|---|---|---|---|"
    )
    for name, make in QUANTIZERS.items():
        started = time.process_time()
        model = make().fit(vectors)
        seconds = time.process_time() - started
        codes = model.codes_
        used = min(len(np.unique(level)) for level in codes.T)
        print(
            f"| `{name}` | {seconds:.1f} | {explained(model, codes, vectors):.3f} | {used} | "
            f"{collision_rate(codes):.3f} |",
            flush=True,
        )


def plain_error(vectors: np.ndarray, epochs: int, report: Callable[[int, float, float], None]) -> None:
    """Train as a script would: all rows at once, Adam, k-means at the start, nothing revived."""
    settings = RQVAESettings()
    model = Autoencoder(settings, vectors.shape[1])
    model.standardize_like(vectors)
    data = model.standardize(vectors)
    started = time.process_time()
    with torch.no_grad():
        model.quantizer.initialize(model.encoder(data), seed=0)
    optimizer = torch.optim.Adam(model.parameters(), lr=settings.learning_rate)
    for epoch in range(1, epochs + 1):
        reconstructed, quantized = model(data)
        error = functional.mse_loss(reconstructed, data)
        loss = error + quantized.codebook_loss + settings.commitment_weight * quantized.commitment_loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if epoch % 100 == 0 or epoch == epochs:
            report(epoch, time.process_time() - started, float(error.detach()))


def plain(vectors: np.ndarray, epochs: int) -> None:
    """Train the plain way to its end, then ours until it is as good; print both."""
    least = [float("inf")]

    def told(epoch: int, seconds: float, error: float) -> None:
        least[0] = min(least[0], error)
        if epoch % 1000 == 0 or epoch == epochs:
            print(f"plain: epoch {epoch}, {seconds:.0f} CPU s, error / variance {error:.4f}", flush=True)
            spent.append(seconds)

    spent: list[float] = []
    plain_error(vectors, epochs, told)
    started = time.process_time()

    class ReachedError(Exception):
        pass

    def until(epoch: int, entry: dict[str, float]) -> None:
        if "error" in entry and epoch % 50 == 0:
            print(
                f"ours: epoch {epoch}, {time.process_time() - started:.0f} CPU s, error / variance "
                f"{entry['error']:.4f}, codes used {entry['share_used']:.3f}",
                flush=True,
            )
        if entry.get("error", float("inf")) <= least[0] and entry["share_used"] == 1:
            raise ReachedError

    try:
        fit_rqvae(vectors, LONG, on_epoch=until)
        print("ours: did not reach it")
    except ReachedError:
        ours = time.process_time() - started
        ratio = spent[-1] / ours
        print(f"ours: as good, and all codes in use, after {ours:.0f} CPU s: {ratio:.1f} times faster")


def make_vectors(path: Path, items: int) -> None:
    """Write clustered vectors of length 1: 5,000 centres, some with many more items than others.

    Centres and items around them spread less in each further dimension, as text embeddings do.
    """
    rng = np.random.default_rng(0)
    spread = (1 / np.sqrt(np.arange(1, WIDTH + 1))).astype(np.float32)
    centres = spread * rng.normal(size=(5000, WIDTH)).astype(np.float32)
    share = 1 / np.arange(1, 5001) ** 0.7
    file = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(items, WIDTH))
    for start in range(0, items, 50_000):
        count = min(50_000, items - start)
        own = rng.choice(5000, count, p=share / share.sum())
        rows = centres[own] + 0.5 * spread * rng.normal(size=(count, WIDTH)).astype(np.float32)
        file[start : start + count] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    file.flush()


def scale_one(name: str, path: Path) -> None:
    """Fit, encode and make unique; print one line of JSON."""
    vectors = np.load(path, mmap_mode="r")
    seconds = {}

    def timed(step: str, work: Callable[[], object]) -> object:
        started = time.process_time()
        result = work()
        seconds[step] = round(time.process_time() - started, 1)
        return result

    model = QUANTIZERS[name]()
    timed("fit", lambda: model.fit(vectors))
    codes = timed("encode", lambda: model.encode(vectors))
    latents = model.latents(vectors)
    unique = timed("unique", lambda: make_unique(codes, latents, model.codebooks()))
    left = explained(model, codes, vectors)
    facts = {
        "quantizer": name,
        **seconds,
        "peak_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
        "explained": round(left, 3),
        "collisions": round(collision_rate(codes), 4),
        "after": collision_rate(unique.codes),
        "used": [len(np.unique(level)) for level in codes.T],
    }
    print(json.dumps(facts), flush=True)


def scale(items: int, names: list[str]) -> None:
    """Run each quantizer on the same file, one after the other."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vectors.npy"
        make_vectors(path, items)
        print(f"{items:,} x {WIDTH}, {path.stat().st_size / 2**30:.2f} GB on disk", flush=True)
        print("| quantizer | fit, CPU s | encode | make unique | peak GB, the file's pages included | R2 |")
        print("|---|---|---|---|---|---|")
        for name in names:
            command = [sys.executable, __file__, "one", "--quantizers", name, "--vectors", str(path)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            facts = json.loads(done.stdout.splitlines()[-1])
            print(
                f"| `{name}` | {facts['fit']} | {facts['encode']} | {facts['unique']} | {facts['peak_gb']} | "
                f"{facts['explained']} |",
                flush=True,
            )
            print(f"  {facts}", file=sys.stderr)


def main() -> None:
    """Parse, and run what was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("methods", "plain", "scale", "one"))
    parser.add_argument("--vectors", type=Path)
    parser.add_argument("--epochs", type=int, default=10_000, help="of the plain implementation")
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--quantizers", default="rqkmeans,rqvae")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    names = arguments.quantizers.split(",")
    if arguments.what == "scale":
        scale(arguments.items, names)
        return
    if arguments.vectors is None:
        parser.error("--vectors names the .npy file of item vectors, (N, D)")
    if arguments.what == "one":
        scale_one(names[0], arguments.vectors)
    elif arguments.what == "methods":
        methods(np.load(arguments.vectors))
    else:
        plain(np.load(arguments.vectors), arguments.epochs)


if __name__ == "__main__":
    main()
