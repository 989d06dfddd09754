"""The settings of a run: one YAML and `section.key=value` overrides, checked before anything is loaded."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args, get_origin

import yaml
from pydantic import BaseModel, Field, ValidationError, model_validator

from sidrec.baselines.config import BaselinesConfig
from sidrec.catalog.config import CatalogConfig, SplitConfig
from sidrec.embedding import EmbeddingConfig
from sidrec.errors import ConfigError, nearest
from sidrec.rl_config import RLConfig
from sidrec.sections import (
    DEFAULT_TASKS,
    EvaluationConfig,
    ModelConfig,
    PromptConfig,
    Section,
    SFTConfig,
)
from sidrec.tokenizer_config import TokenizerConfig

SCIENTIFIC = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+$")


class _Loader(yaml.SafeLoader):
    """Reads 1e-4 as the number it is, which YAML 1.1 takes for a string."""


class _Dumper(yaml.SafeDumper):
    """Quotes the strings that `_Loader` would read as numbers."""


_Loader.add_implicit_resolver("tag:yaml.org,2002:float", SCIENTIFIC, list("-+.0123456789"))
_Dumper.add_implicit_resolver("tag:yaml.org,2002:float", SCIENTIFIC, list("-+.0123456789"))


class Config(Section):
    """Everything that decides a run."""

    output: Path = Field(Path("runs/run"), description="Directory of the run.")
    predictions: Path | None = Field(
        None,
        description="For `sidrec evaluate`: someone else's recommendations, a CSV, TSV, JSONL or Parquet "
        "with user_id, rank (from 1) and item_id; measured in place of the run's models.",
    )
    seed: int = Field(0, ge=0, description="Of everything random.")
    catalog: CatalogConfig = Field(default_factory=CatalogConfig)
    split: SplitConfig = Field(default_factory=SplitConfig)
    embedding: EmbeddingConfig = Field(default_factory=EmbeddingConfig)
    tokenizer: TokenizerConfig = Field(default_factory=TokenizerConfig)
    model: ModelConfig = Field(default_factory=ModelConfig)
    prompt: PromptConfig = Field(default_factory=PromptConfig)
    sft: SFTConfig = Field(default_factory=SFTConfig)
    rl: RLConfig = Field(default_factory=RLConfig)
    evaluation: EvaluationConfig = Field(default_factory=EvaluationConfig)
    baselines: BaselinesConfig = Field(default_factory=BaselinesConfig)

    @model_validator(mode="before")
    @classmethod
    def _titles_answer_next_items(cls, raw: Any) -> Any:
        """Where titles name items, the default tasks that turn one into the other have nothing to teach."""
        if not isinstance(raw, dict) or not isinstance(model := raw.get("model"), dict):
            return raw
        if model.get("identifiers") != "title":
            return raw
        sft = raw.get("sft", {})
        return raw | {"sft": {"tasks": {"next_item": 1}} | sft} if isinstance(sft, dict) else raw

    def to_yaml(self) -> str:
        """Write out every setting; reading it back repeats the run."""
        settings = self.model_dump(mode="json")
        return yaml.dump(settings, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


SECTIONS = tuple(name for name in Config.model_fields if name not in ("output", "seed", "predictions"))


def load_config(path: Path | None, overrides: Sequence[str] = ()) -> Config:
    """Read a YAML file and apply `section.key=value` overrides; values are YAML too.

    Raises:
        ConfigError: For a missing or broken file, an unknown key (the nearest is suggested) or a value of the
            wrong type; all faults of the config are named at once.
    """
    raw = {} if path is None else _read_yaml(path)
    for override in overrides:
        key, separator, value = override.partition("=")
        if not separator or not key:
            raise ConfigError(
                f"{override!r} is no setting. Write section.key=value, such as rl.num_generations=8."
            )
        _set(raw, key, _parse(override, value))
    return _checked(raw, "the settings" if path is None else str(path))


def config_with(config: Config | str | os.PathLike[str] | None, settings: Mapping[str, Any]) -> Config:
    """Return a config with settings above it, as Python gives them.

    Args:
        config: A YAML file, a config, or None for the defaults.
        settings: By name, `seed` or `sft.epochs`; a mapping for a section changes what it names there.

    Raises:
        ConfigError: As `load_config`, or if `config` is something else.
    """
    if isinstance(config, Config):
        raw, source = config.model_dump(mode="json", exclude_unset=True), "the settings"
    elif config is None or isinstance(config, str | os.PathLike):
        raw, source = ({}, "the settings") if config is None else (_read_yaml(Path(config)), str(config))
    else:
        raise ConfigError(
            f"A config is a YAML file or a sidrec.Config, got {type(config).__name__}. Give settings by "
            'name: output="runs/books", sft={"epochs": 2}; tables as catalog=sidrec.Catalog(items, events).'
        )
    for name, value in settings.items():
        if name in SECTIONS and isinstance(value, Mapping):
            for key, inner in value.items():
                _set(raw, f"{name}.{key}", inner)
        else:
            _set(raw, name, value)
    return _checked(raw, source)


def _checked(raw: dict[str, Any], source: str) -> Config:
    try:
        return Config.model_validate(raw)
    except ValidationError as error:
        faults = "; ".join(_explain(fault) for fault in error.errors())
        raise ConfigError(f"In {source}: {faults}") from None


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        raw = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)  # a SafeLoader
    except FileNotFoundError:
        raise ConfigError(f"The config {path} does not exist. Check the path, or write one.") from None
    except (IsADirectoryError, PermissionError) as error:
        raise ConfigError(f"The config {path} cannot be read ({error.strerror}).") from None
    except UnicodeDecodeError:
        raise ConfigError(f"The config {path} is not UTF-8 text. Save it as UTF-8.") from None
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"The config {path} is not valid YAML: {reason}") from None
    if raw is None:
        return {}
    if not isinstance(raw, dict):
        raise ConfigError(
            f"The config {path} must hold sections such as `catalog:`, not a {type(raw).__name__}."
        )
    # A section whose lines are all commented out is an empty section.
    return {key: {} if value is None and key in SECTIONS else value for key, value in raw.items()}


def _parse(override: str, value: str) -> Any:
    if value.startswith("%"):  # no value of YAML does, but a time format
        return value
    try:
        parsed = yaml.load(value, Loader=_Loader)  # a SafeLoader
    except yaml.YAMLError:
        raise ConfigError(
            f"{override!r}: the value is not valid YAML. Quote it, such as 'catalog.text=\"{{title}}\"'."
        ) from None
    # "{title}" and "Title: {title}" are mappings to YAML and templates to everyone else.
    if not isinstance(parsed, dict):
        return parsed
    only_names = bool(parsed) and all(entry is None for entry in parsed.values())
    return value if only_names or not value.lstrip().startswith("{") else parsed


def _set(raw: dict[str, Any], key: str, value: Any) -> None:
    """Put one setting, `section.key`, above those that are there."""
    keys = key.split(".")
    if keys[:2] == ["sft", "tasks"] and len(keys) > 2:
        _start_from_default_tasks(raw)
    _put(raw, keys, value)


def _put(raw: dict[str, Any], keys: list[str], value: Any) -> None:
    for depth, key in enumerate(keys[:-1]):
        raw = raw.setdefault(key, {})
        if not isinstance(raw, dict):
            raise ConfigError(f"{'.'.join(keys)}: {'.'.join(keys[: depth + 1])} is a value, not a section.")
    raw[keys[-1]] = value


def _start_from_default_tasks(raw: dict[str, Any]) -> None:
    """Write out the default tasks where no others are given: what is said of one leaves the rest."""
    section = raw.setdefault("sft", {})
    if isinstance(section, dict):
        section.setdefault("tasks", {name: {"weight": weight} for name, weight in DEFAULT_TASKS.items()})


def _explain(fault: Any) -> str:
    """Say one fault of pydantic's in a sentence."""
    place = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        known = _keys_beside(fault["loc"])
        prefix = place.rpartition(".")[0]
        guess = nearest(str(fault["loc"][-1]), known) or _anywhere(str(fault["loc"][-1]))
        where = f" in section {prefix}" if prefix else ""
        return f"{place} is not an option.{guess} Known{where}: {', '.join(known)}."
    value = repr(fault["input"])
    shown = value if len(value) < 60 else value[:57] + "..."
    message = fault["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    expected = f"expected {message}" if fault["msg"].startswith("Input should be ") else message
    return f"{place or 'config'}: {expected}, got {shown}."


def _keys_beside(location: tuple[Any, ...]) -> list[str]:
    section: Any = Config
    for part in location[:-1]:  # a number is a place in a list of sections
        if isinstance(part, int):
            section = get_args(section)[0]
        elif get_origin(section) is dict:  # a name of the user's own
            section = get_args(section)[1]
        else:
            section = section.model_fields[part].annotation
    return list(section.model_fields)


def _anywhere(name: str) -> str:
    """Suggest a key of another section, for people who forgot the section."""
    paths = {
        key: f"{section}.{key}"
        for section, field in Config.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
        for key in field.annotation.model_fields
    }
    close = difflib.get_close_matches(name, paths, n=1, cutoff=0.75)
    return f' Did you mean "{paths[close[0]]}"?' if close else ""
