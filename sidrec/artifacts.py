"""What stages leave on disk: whole or not at all, with a manifest that says what it was made from.

A stage writes into `<name>.partial` and renames when done, so that a half-written stage never looks finished.
Its manifest holds a fingerprint over settings and input hashes: equal fingerprint, nothing to redo; a partial
directory with another fingerprint is thrown away rather than resumed.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import resource
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sidrec.errors import ArtifactError
from tokenizer.semantic_ids import SemanticIDs

FORMAT_VERSION = 1
CHECKPOINTS = "checkpoints"  # in a partial directory: what an interrupted stage goes on from, not a result
CARD = "README.md"  # of a model: people edit it, so that no hash is kept of it
PACKAGES = ("sidrec", "torch", "transformers", "trl", "peft", "lightning", "numpy", "scikit-learn")


def sha256_of_file(path: Path) -> str:
    """Return the hash of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def sha256_of_json(value: object) -> str:
    """Return the hash of a JSON value, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def write_text(path: Path, text: str) -> None:
    """Write a text in one step: a reader sees the old file or the new one."""
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def write_json(path: Path, value: object) -> None:
    """Write readable JSON in one step."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file of ours.

    Raises:
        ArtifactError: If it is missing or broken.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ArtifactError(
            f"{path} does not exist. Is {path.parent} a directory that sidrec wrote?"
        ) from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ArtifactError(
            f"{path} is not readable JSON ({error}). Delete {path.parent} and rerun its stage."
        ) from None


def peak_memory_mb() -> int:
    """Return the most memory this process has held so far, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1024 * 1024 if sys.platform == "darwin" else 1024))


def partial_of(directory: Path) -> Path:
    """Return where a stage is written before it is put into `directory`."""
    return directory.with_name(directory.name + ".partial")


@dataclass
class Stage:
    """One stage's directory: what it is made from, whether it is done, and how it becomes so.

    Attributes:
        directory: Where the finished stage lies.
        name: As on the command line.
        settings: What of the config decides the result.
        inputs: Name -> sha256 of everything that is read.
        seed: The run's seed.
    """

    directory: Path
    name: str
    settings: Mapping[str, object]
    inputs: Mapping[str, str]
    seed: int
    _started: float = field(default_factory=time.monotonic)
    _cpu_before: float = field(default_factory=time.process_time)

    @property
    def fingerprint(self) -> str:
        """Hash of all that decides the result."""
        return sha256_of_json([FORMAT_VERSION, self.name, self.settings, self.inputs, self.seed])

    @property
    def partial(self) -> Path:
        """Where the stage is written until it is done."""
        return partial_of(self.directory)

    def is_done(self) -> bool:
        """Whether `directory` holds the result of exactly these settings and inputs."""
        self._finish_swap()
        return self._is_result(self.directory)

    def _is_result(self, directory: Path) -> bool:
        manifest = directory / "manifest.json"
        return manifest.is_file() and read_json(manifest).get("fingerprint") == self.fingerprint

    def adopt(self, others: Sequence[Path], config_yaml: str) -> bool:
        """Take over the same result from another run, if one of `others` has it; say whether it is here now.

        Files are linked rather than copied where the file system can: a finished stage is never written to.

        Args:
            others: Directories of the same stage in other runs.
            config_yaml: Of this run, put in place of the other one's.
        """
        if self.is_done():
            return True
        donor = next((other for other in others if self._is_result(other)), None)
        if donor is None:
            return False
        shutil.rmtree(self.partial, ignore_errors=True)
        ours = shutil.ignore_patterns("config.yaml", "manifest.json")
        shutil.copytree(donor, self.partial, copy_function=_link, ignore=ours)
        (self.partial / "config.yaml").write_text(config_yaml, encoding="utf-8")
        _link(str(donor / "manifest.json"), str(self.partial / "manifest.json"))  # last: now it is whole
        self._swap()
        return True

    def begin(self) -> Path:
        """Return the partial directory, with what an interrupted run of the same fingerprint left in it."""
        self._finish_swap()
        mark = self.partial / "fingerprint.json"
        if not mark.is_file() or read_json(mark) != self.fingerprint:
            shutil.rmtree(self.partial, ignore_errors=True)
            self.partial.mkdir(parents=True)
            write_json(mark, self.fingerprint)
        return self.partial

    def finish(self, config_yaml: str, facts: Mapping[str, Any] | None = None) -> None:
        """Write config and manifest, then put the stage in its place.

        Args:
            config_yaml: Of the run.
            facts: What else the manifest is to hold.
        """
        for torn in self.partial.glob("*.part"):  # of a `write_json` that was killed
            torn.unlink()
        outputs = {
            path.name: sha256_of_file(path)
            for path in sorted(self.partial.iterdir())
            if path.is_file() and path.name not in ("fingerprint.json", "config.yaml", "manifest.json", CARD)
        }
        (self.partial / "config.yaml").write_text(config_yaml, encoding="utf-8")
        manifest = {
            "stage": self.name,
            "format_version": FORMAT_VERSION,
            "fingerprint": self.fingerprint,
            "seed": self.seed,
            "inputs": dict(self.inputs),
            "outputs": outputs,
            "versions": {"python": sys.version.split()[0], **_versions()},
            "wall_seconds": round(time.monotonic() - self._started, 2),
            "cpu_seconds": round(time.process_time() - self._cpu_before, 2),
            "peak_memory_mb": peak_memory_mb(),
            **(facts or {}),
        }
        write_json(self.partial / "manifest.json", manifest)
        (self.partial / "fingerprint.json").unlink()
        self._swap()

    def _swap(self) -> None:
        shutil.rmtree(self.partial / CHECKPOINTS, ignore_errors=True)
        if self.directory.exists():
            os.replace(self.directory, self._old)
        os.replace(self.partial, self.directory)
        shutil.rmtree(self._old, ignore_errors=True)

    @property
    def _old(self) -> Path:
        return self.directory.with_name(self.directory.name + ".old")

    def _finish_swap(self) -> None:
        """Mend what a kill around the two renames of `finish` left behind."""
        if self.directory.exists():
            shutil.rmtree(self._old, ignore_errors=True)
        # `finish` writes the manifest, then removes the mark: without one the stage is whole.
        if (self.partial / "manifest.json").is_file() and not (self.partial / "fingerprint.json").exists():
            self._swap()
        elif self._old.exists():
            os.replace(self._old, self.directory)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copy2(source, target)


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def read_manifest(directory: Path) -> dict[str, Any]:
    """Return the manifest of a finished stage.

    Raises:
        ArtifactError: If the stage was never finished there, with the command that makes it.
    """
    path = directory / "manifest.json"
    if not path.is_file():
        hint = " (it was interrupted)" if partial_of(directory).exists() else ""
        several = ("evaluate", "baselines", "sequential")  # these hold a directory per model
        stage = directory.parent.name if directory.parent.name in several else directory.name
        known = {name: name for name in ("tokenize", "sft", "rl", "evaluate", "baselines")}
        command = ({"catalog": "tokenize", "sequential": "baselines"} | known).get(stage, "run")
        raise ArtifactError(f"{directory} holds no finished stage{hint}. Run first: sidrec {command}")
    return read_json(path)


def load_semantic_ids(directory: Path) -> SemanticIDs:
    """Read the `semantic_ids.parquet` of a stage.

    Raises:
        ArtifactError: If it is missing or damaged.
    """
    try:
        return SemanticIDs.load(directory / "semantic_ids.parquet")
    except ValueError as error:
        raise ArtifactError(f"{error} Delete {directory} and rerun its stage.") from error


def check_outputs(directory: Path) -> list[str]:
    """Return one sentence per file of `directory` that is missing or not what its manifest says it was."""
    problems = []
    for name, expected in read_manifest(directory)["outputs"].items():
        path = directory / name
        if not path.is_file():
            problems.append(f"{path} is missing.")
        elif (found := sha256_of_file(path)) != expected:
            problems.append(
                f"{path} has changed since it was written (sha256 {found[:8]}, manifest {expected[:8]})."
            )
    return problems
