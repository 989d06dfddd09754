"""The model that `sft` trains: made or loaded, its SID rows begun, and frozen but for what is trained."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sidrec.adapters import Base, add_adapters, load_merged
from sidrec.artifacts import sha256_of_file
from sidrec.config import Config
from sidrec.errors import ConfigError
from sidrec.stages.run import Run
from sidrec.stages.sft_tasks import texts_of

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from sidrec.sections import SFTConfig
    from sidrec.sid_model import SIDModel
    from sidrec.sid_rows import Start

logger = logging.getLogger(__name__)


def check_model_settings(config: Config) -> None:
    """Refuse what needs a trained model of a preset.

    Raises:
        ConfigError: If so.
    """
    if config.model.path is not None:
        return
    if config.sft.trainable != "full":
        raise ConfigError(
            f"sft.trainable={config.sft.trainable} trains a few weights of a model that knows language; "
            "a preset begins from nothing. Set model.path, or sft.trainable=full."
        )
    if config.sft.sid_init == "text":
        raise ConfigError(
            "sft.sid_init=text begins with what the model knows of words; a preset begins from nothing. Set "
            "model.path, or sft.sid_init=mean or codebook."
        )


def model_inputs(config: Config, run: Run) -> dict[str, str]:
    """Return the hashes of what the trained model is made from, beside the run.

    Raises:
        ConfigError: If it is not there.
    """
    check_model_settings(config)
    inputs = {}
    if config.sft.trainable != "full":
        inputs["base"] = Base.of(str(config.model.path)).sha256
    if config.sft.sid_init == "codebook":
        inputs["codebooks"] = sha256_of_file(_tokenizer_file(run))
    return inputs


def _tokenizer_file(run: Run) -> Path:
    path = run.output / "tokenize" / "tokenizer.safetensors"
    if not path.is_file():
        raise ConfigError(
            f"sft.sid_init=codebook needs code vectors, but the semantic IDs of {run.output} have none: no "
            "tokenizer made them there. Set sft.sid_init to mean or text."
        )
    return path


def model_of(
    config: Config, run: Run, *, max_positions: int
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Return the model to be trained and its text tokenizer.

    Raises:
        ConfigError: If the model cannot be loaded, or not be trained as `sft` says.
    """
    from sidrec.models import make_model

    section = config.sft
    model: Any
    model, text_tokenizer, vocabulary = make_model(
        config.model,
        texts_of(run.catalog),
        run.semantic_ids.codebook_sizes,
        max_positions=max_positions,
        seed=config.seed,
        start=_start(config, run),
        load_in_4bit=section.load_in_4bit,
    )
    if config.model.item_embedding:
        model.add_item_embedding(len(run.semantic_ids.codes))
    if section.trainable != "full":
        lora = section.lora if section.trainable == "lora" else None
        add_adapters(model, vocabulary.token_ids, lora, seed=config.seed)
    return model, text_tokenizer


def _start(config: Config, run: Run) -> Start | None:
    from sidrec.sid_rows import FromCodebooks, FromTitles
    from tokenizer.model_file import open_model

    sizes = run.semantic_ids.codebook_sizes
    if config.sft.sid_init == "text":
        return FromTitles(sizes, run.semantic_ids.codes, run.catalog.items["title"].tolist())
    if config.sft.sid_init == "codebook":
        return FromCodebooks(sizes, open_model(_tokenizer_file(run)).codebooks())
    return None


def speed_arguments(section: SFTConfig, device: torch.device) -> dict[str, Any]:
    """Return what of `transformers.TrainingArguments` makes training faster or smaller."""
    chosen: dict[str, Any] = {}
    if section.bf16:
        chosen |= {"bf16": True, "use_cpu": device.type == "cpu"}  # without the latter it is refused there
    if section.bf16 and device.type == "cpu":
        logger.warning(
            "sft.bf16 is on: whether bfloat16 is faster than float32 depends on the CPU; compare tokens/s"
        )
    if section.gradient_checkpointing:
        chosen |= {
            "gradient_checkpointing": True,
            "gradient_checkpointing_kwargs": {"use_reentrant": False},
        }
    return chosen


def compile_if_asked(model: Any, section: SFTConfig) -> None:
    """Compile the trunk of a model on a GPU; on a CPU say that this is left out."""
    if not section.compile:
        return
    if model.device.type == "cpu":
        logger.warning("sft.compile is left out: torch.compile does not pay on a CPU")
        return
    compile_training(model)


def compile_training(model: Any, backend: str | Callable[..., Any] = "inductor") -> None:
    """Compile the trunk in place, for training: the many shapes of a beam search would all be compiled anew.

    Its weights keep their names, and whoever holds the model has it compiled.
    """
    import torch

    trunk = model.base_model
    plain = trunk.forward
    compiled = torch.compile(plain, dynamic=True, backend=backend)

    @wraps(plain)
    def forward(*args: Any, **kwargs: Any) -> Any:
        return (compiled if trunk.training else plain)(*args, **kwargs)

    trunk.forward = forward


def save_trained(
    sid_model: SIDModel, config: Config, directory: Path, weights: dict[str, torch.Tensor] | None
) -> None:
    """Write the model directory: a whole model, adapters with what they belong to, or both merged.

    Args:
        sid_model: Trained.
        config: Says what was trained.
        directory: There already.
        weights: The model's, where it holds only a part of them itself.
    """
    if config.sft.trainable == "full":
        sid_model.save(directory, weights)
        return
    base = Base.of(str(config.model.path))
    if not config.sft.merge:
        sid_model.save(directory, weights)
        base.save(directory)
        return
    from sidrec.models import with_head

    with tempfile.TemporaryDirectory() as folder:
        sid_model.model.save_pretrained(folder, state_dict=weights)
        token_ids = [ids.tolist() for ids in sid_model.scorer.token_ids]
        finish = partial(with_head, head=config.model.head, token_ids=token_ids)
        merged = load_merged(Path(folder), base, sid_model.text_tokenizer, finish)
    replace(sid_model, model=merged).save(directory)
