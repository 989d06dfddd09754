"""Train few weights of a model: low-rank adapters and the rows of SID tokens, or those rows alone (peft).

The model stays what it is, with adapters put into it. On disk lie `adapter_model.safetensors`,
`adapter_config.json` and `base.json`, which says what model they belong to; in memory they are merged into
it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sidrec.artifacts import read_json, sha256_of_file, write_json
from sidrec.errors import ArtifactError, ConfigError, nearest

if TYPE_CHECKING:
    from peft import LoraConfig
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from sidrec.sections import LoRAConfig

NAME = "default"
WEIGHTS = "adapter_model.safetensors"


@dataclass(frozen=True)
class Base:
    """The model that adapters were trained beside.

    Attributes:
        path: An absolute directory or a hub name.
        sha256: Of its weight files.
    """

    path: str
    sha256: str

    @classmethod
    def of(cls, path: str) -> Base:
        """Hash the weights of `model.path`.

        Raises:
            ConfigError: If there are none.
        """
        directory = Path(path)
        if not directory.exists() and not directory.is_absolute():
            directory = _from_hub(path)
        files = sorted(directory.glob("*.safetensors")) or sorted(directory.glob("*.bin"))
        if not files:
            raise ConfigError(f"model.path: {path} holds no weights (*.safetensors). Name a whole model.")
        name = str(Path(path).resolve()) if Path(path).exists() else path
        return cls(name, "+".join(sha256_of_file(file) for file in files))

    @classmethod
    def read(cls, directory: Path) -> Base | None:
        """Read what the adapters in a model directory belong to; None: it holds a whole model."""
        path = directory / "base.json"
        return cls(**read_json(path)) if path.is_file() else None

    def save(self, directory: Path) -> None:
        """Write `base.json`."""
        write_json(directory / "base.json", asdict(self))

    def problem(self, directory: Path) -> str | None:
        """Say why the adapters in `directory` cannot be merged into this model any more, if so."""
        try:
            now = Base.of(self.path).sha256
        except ConfigError:
            return (
                f"{directory} holds adapters to {self.path}, where no weights are now. Put that model back, "
                "or set model.path to where it is and rerun: sidrec sft"
            )
        if now != self.sha256:
            return (
                f"{directory} holds adapters to {self.path}, whose weights have changed since (sha256 "
                f"{now[:8]}, then {self.sha256[:8]}). Put the former ones back, or rerun: sidrec sft"
            )
        return None


def _from_hub(path: str) -> Path:
    """Return where the weights of a hub model lie on this machine; they are fetched if they are not there."""
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(path, allow_patterns=["*.safetensors"]))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"model.path: {path} is no directory, and not on the hub ({str(error).splitlines()[0]})."
        ) from error


def add_adapters(
    model: PreTrainedModel, token_ids: list[list[int]], lora: LoRAConfig | None, *, seed: int
) -> None:
    """Freeze a model but for the rows of SID tokens, and adapters beside its linear layers.

    Args:
        model: With rows for all SID tokens.
        token_ids: Level by level, the token id of every code.
        lora: None: no adapters, the rows alone.
        seed: Of the adapters' weights.

    Raises:
        ConfigError: If no layer has a name that was asked for, or the output layer has biases, which peft
            would drop.
    """
    import torch
    from peft import LoraConfig

    if getattr(model.get_output_embeddings(), "bias", None) is not None:
        raise ConfigError(
            f"sft.trainable: the output layer of {type(model).__name__} has biases, which peft leaves out. "
            "Set sft.trainable=full, or choose another model."
        )
    _check_targets(model, lora)
    names = {module: name for name, module in model.named_modules()}
    layers = [model.get_input_embeddings()]
    if not model.config.get_text_config().tie_word_embeddings:
        layers.append(model.get_output_embeddings())
    ids = sorted(token_id for level in token_ids for token_id in level)
    settings: dict[str, Any] = {"target_modules": "dummy-target-modules"}  # peft's own word for none
    if hasattr(model, "depth_head"):  # it is new, so all of it is trained
        settings["modules_to_save"] = ["depth_head"]
    if lora is not None:
        targets = lora.target_modules
        settings |= {
            "r": lora.rank,
            "lora_alpha": lora.alpha,
            "lora_dropout": lora.dropout,
            "target_modules": targets if isinstance(targets, str) else list(targets),
            "exclude_modules": r".*depth_head.*" if "modules_to_save" in settings else None,
        }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model.add_adapter(
            LoraConfig(**settings, trainable_token_indices={names[layer]: ids for layer in layers})
        )
    # Else peft compares vocabularies with it, and saves whole embeddings: `base.json` names the base.
    _config_of(model).base_model_name_or_path = None


def _check_targets(model: PreTrainedModel, lora: LoRAConfig | None) -> None:
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    if lora is None or lora.target_modules == "all-linear":
        return
    head = model.get_output_embeddings()
    linear = [
        name for name, module in model.named_modules()
        if isinstance(module, nn.Linear | Conv1D) and module is not head
    ]  # fmt: skip
    for target in lora.target_modules:
        if not any(name == target or name.endswith(f".{target}") for name in linear):
            known = sorted({name.rpartition(".")[2] for name in linear})
            raise ConfigError(
                f'sft.lora.target_modules: {type(model).__name__} has no linear layer "{target}" that an '
                f"adapter can stand beside.{nearest(target, known)} There are: {', '.join(known)}."
            )


def _config_of(model: Any) -> LoraConfig:
    return model.peft_config[NAME]


def has_adapters(model: Any) -> bool:
    """Whether adapters or rows of SID tokens are trained beside the weights of a model."""
    return bool(getattr(model, "_hf_peft_config_loaded", False))


def restore_adapters(model: Any, directory: Path) -> None:
    """Read what `model.save_pretrained` wrote of the same adapters, in place.

    Raises:
        ArtifactError: If they are others.
    """
    from peft import set_peft_model_state_dict
    from safetensors.torch import load_file

    prefix = "base_model.model."
    state = {name.removeprefix(prefix): each for name, each in load_file(directory / WEIGHTS).items()}
    set_peft_model_state_dict(model, state, adapter_name=NAME)


def load_merged(
    directory: Path,
    base: Base,
    text_tokenizer: PreTrainedTokenizerBase,
    finish: Callable[[PreTrainedModel], PreTrainedModel] | None = None,
) -> PreTrainedModel:
    """Read a model and merge the adapters of `directory` into it.

    Args:
        directory: A model directory.
        base: What the adapters belong to.
        text_tokenizer: Of the model, with SID tokens.
        finish: Gives the base, with rows for SID tokens, the head that it was trained with; None: its own.

    Raises:
        ArtifactError: If the base is not where it was, or not what it was.
    """
    from peft import PeftModel

    from sidrec.models import forget_sampling, load_model, make_room

    if problem := base.problem(directory):
        raise ArtifactError(problem)
    model = load_model(base.path)
    make_room(model, text_tokenizer)
    model = model if finish is None else finish(model)
    merged = PeftModel.from_pretrained(model, directory).merge_and_unload()
    forget_sampling(merged, text_tokenizer)
    return merged.requires_grad_(True)  # peft leaves all of it frozen
