"""What every stage after `tokenize` reads: catalogue, split and semantic IDs, checked to fit together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from sidrec.artifacts import load_semantic_ids, read_manifest, sha256_of_file
from sidrec.catalog import Catalog, Split, read_catalog, split_catalog
from sidrec.catalog.reservation import reservation_input, reserved_users, without_reserved
from sidrec.config import Config
from sidrec.errors import ArtifactError
from tokenizer.semantic_ids import SemanticIDs


@dataclass(frozen=True)
class Run:
    """A run directory after `tokenize`."""

    output: Path
    catalog: Catalog
    split: Split
    semantic_ids: SemanticIDs
    vectors: np.ndarray | None = None
    """(N, D) float32 item embeddings of `tokenize`, which diversity is measured by."""
    reserved: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=bool))
    """(U,) bool, the users whose last train event SFT does not see; of length 0: none."""

    def inputs(self) -> dict[str, str]:
        """Return the hashes that a stage's fingerprint is made of."""
        return {
            "catalog": self.catalog.sha256,
            "split": self.split.sha256,
            "semantic_ids": self.semantic_ids.sha256,
        }

    def training_inputs(self) -> dict[str, str]:
        """Return the hashes of `inputs`, and that of what is kept from SFT, if anything is."""
        return self.inputs() | reservation_input(self.reserved)

    def learned_histories(self) -> list[np.ndarray]:
        """Return the train items that SFT learns from, user by user."""
        return without_reserved(self.split.train, self.reserved) if len(self.reserved) else self.split.train

    def learned_weights(self) -> list[np.ndarray] | None:
        """Return the weights of these items' events, as `Split.scaled_weights`."""
        weights = self.split.scaled_weights()
        return without_reserved(weights, self.reserved) if weights and len(self.reserved) else weights


def load_run(config: Config) -> Run:
    """Load what `tokenize` left in `config.output`.

    Raises:
        ArtifactError: If it did not finish, or was made from another catalogue than the config names.
        ConfigError: If `split.rl_share` reserves nothing.
    """
    output = config.output
    manifest = read_manifest(output / "tokenize")
    catalog = Catalog.load(output / "catalog")
    held = manifest["inputs"]["catalog"]
    if catalog.sha256 != held:
        raise ArtifactError(
            f"{output}/catalog (sha256 {catalog.sha256[:8]}) is not the catalogue that {output}/tokenize was "
            f"made from ({held[:8]}). Rerun: sidrec tokenize"
        )
    if config.catalog.items is not None:
        named = read_catalog(config.catalog).sha256
        if named != held:
            raise ArtifactError(
                f"{output} holds another catalogue (sha256 {held[:8]}) than {config.catalog.items} gives now "
                f"({named[:8]}). Set another output, or rerun: sidrec tokenize"
            )
    return run_of(config, catalog)


def run_of(config: Config, catalog: Catalog) -> Run:
    """Load what `tokenize` has made of a catalogue that is known to be that of `config.output`."""
    output = config.output
    semantic_ids = load_semantic_ids(output / "tokenize")
    vectors = np.load(output / "tokenize" / "embeddings.npy", mmap_mode="r", allow_pickle=False)
    split = split_catalog(catalog, config.split)
    reserved = reserved_users(split.train, config.split.rl_share, config.seed)
    return Run(output, catalog, split, semantic_ids, vectors, reserved)


def check_semantic_ids(directory: Path, semantic_ids: SemanticIDs) -> None:
    """Refuse a model directory that was trained on other semantic IDs than the run holds now.

    Raises:
        ArtifactError: If its stage never finished, or with both hashes and the command that rebuilds.
    """
    read_manifest(directory)
    trained_on = load_semantic_ids(directory).sha256
    if trained_on != semantic_ids.sha256:
        raise ArtifactError(
            f"{directory} was trained on other semantic IDs (sha256 {trained_on[:8]}) than "
            f"{directory.parent / 'tokenize'} holds now ({semantic_ids.sha256[:8]}). "
            f"Rerun: sidrec {directory.name}"
        )


def weights_hash(directory: Path) -> str:
    """Return one hash over the weights of a model directory: its safetensors, and the base of adapters."""
    files: Sequence[Path] = sorted([*directory.glob("*.safetensors"), *directory.glob("base.json")])
    return "+".join(sha256_of_file(path) for path in files)
