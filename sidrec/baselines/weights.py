"""Trained sequential models on disk: `model.safetensors`, and `model.json` to build them again."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from sidrec.artifacts import FORMAT_VERSION, read_json, write_json
from sidrec.baselines.config import GRU4RecConfig, SASRecBCEConfig, SASRecConfig
from sidrec.baselines.gru4rec import GRU4Rec
from sidrec.baselines.sasrec import SASRec
from sidrec.baselines.sequential import SequentialModel
from sidrec.errors import ArtifactError

WEIGHTS = "model.safetensors"
FACTS = "model.json"
SETTINGS = {section.__name__: section for section in (GRU4RecConfig, SASRecConfig, SASRecBCEConfig)}


def save_sequential(model: SequentialModel, directory: Path) -> None:
    """Write a model's weights and what they belong to into a directory that exists."""
    from safetensors.torch import save_file

    tensors = {name: tensor.detach().contiguous() for name, tensor in model.state_dict().items()}
    save_file(tensors, str(directory / WEIGHTS))
    facts = {
        "format_version": FORMAT_VERSION,
        "settings_of": type(model.settings).__name__,
        "num_items": model.num_items,
        "settings": model.settings.values(),
    }
    write_json(directory / FACTS, facts)


def load_sequential(directory: Path) -> SequentialModel:
    """Read what `save_sequential` wrote, in evaluation mode.

    Raises:
        ArtifactError: If a file is missing or damaged, or the two do not belong together.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    model = _build(directory)
    path = directory / WEIGHTS
    try:
        model.load_state_dict(load_file(str(path)))
    except FileNotFoundError:
        raise ArtifactError(f"{path} does not exist. Rerun: sidrec baselines") from None
    except (SafetensorError, RuntimeError) as error:
        raise ArtifactError(
            f"{path} is damaged or does not belong to {FACTS} beside it ({error}). "
            f"Delete {directory} and rerun: sidrec baselines"
        ) from error
    return model.eval()


def _build(directory: Path) -> SequentialModel:
    """Build the model that `model.json` describes; its weights are still to be read."""
    path = directory / FACTS
    facts = read_json(path)
    rerun = f"Delete {directory} and rerun: sidrec baselines"
    try:
        version, kind, num_items = facts["format_version"], facts["settings_of"], facts["num_items"]
        if version != FORMAT_VERSION:
            raise ArtifactError(f"{path} has format {version}, this sidrec reads {FORMAT_VERSION}. {rerun}")
        match SETTINGS[kind].model_validate(facts["settings"]):
            case GRU4RecConfig() as settings:
                return GRU4Rec(num_items, settings, seed=0)
            case settings:
                return SASRec(num_items, settings, seed=0)
    except (KeyError, TypeError, ValidationError) as error:
        raise ArtifactError(f"{path} describes no sequential model ({error}). {rerun}") from error
