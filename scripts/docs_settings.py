"""The settings of a config as Markdown, from the pydantic models: name, default, values, meaning, source."""

from __future__ import annotations

import inspect
import re
import types
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from sidrec.config import Config

SOURCE = re.compile(r" ?\((arXiv:[\d.]+|[A-Z][\w-]+: [\w.e-]+)\)")
"""Where a value is from, as descriptions say it: `(arXiv:2106.09685)`, `(TIGER: 256)`."""
WORDS = {
    bool: "`true`, `false`",
    int: "whole number",
    float: "number",
    str: "text",
    Path: "path",
    datetime: "date",
    Any: "any value",
}
BOUNDS = {"ge": "from {}", "gt": "above {}", "le": "to {}", "lt": "below {}"}


@dataclass(frozen=True)
class Group:
    """Settings that stand in one section.

    Attributes:
        path: As it is written before the name of a setting, such as `sft.lora`; empty: the run itself.
        model: Its pydantic model.
    """

    path: str
    model: type[BaseModel]


def groups(path: str = "", model: type[BaseModel] = Config) -> Iterator[Group]:
    """Yield a section, then those in it; `NAME` and `N` stand for what users call or count themselves."""
    yield Group(path, model)
    for name, field in model.model_fields.items():
        inner = _section_in(field.annotation)
        if inner is not None:
            mark, section = inner
            yield from groups(".".join(part for part in (path, name, mark) if part), section)


def _section_in(annotation: Any) -> tuple[str, type[BaseModel]] | None:
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        return "", annotation
    origin, arguments = get_origin(annotation), get_args(annotation)
    for wrapper, mark, place in ((dict, "NAME", -1), (tuple, "N", 0)):
        if origin is wrapper and (inner := _section_in(arguments[place])) is not None:
            return mark, inner[1]
    return None


def settings_page() -> str:
    """Return a heading, what the section is for, and a table, for every section of a config."""
    return "\n\n".join(_section(group) for group in groups())


def _section(group: Group) -> str:
    heading = f"## `{group.path}`" if group.path else "## The run"
    meaning, source = _parted(inspect.cleandoc(group.model.__doc__ or ""))
    rows = [
        _row(group, name, field)
        for name, field in group.model.model_fields.items()
        if not (inspect.isclass(field.annotation) and issubclass(field.annotation, BaseModel))
    ]
    said = f"{meaning} Source: {source}." if source else meaning
    if not rows:
        return f"{heading}\n\n{said}"
    head = ["setting", "default", "values", "what it is, and in which unit", "source"]
    if not any(row[-1] for row in rows):
        head, rows = head[:-1], [row[:-1] for row in rows]
    table = [head, ["---"] * len(head), *rows]
    return "\n".join([heading, "", said, "", *(f"| {' | '.join(cells)} |" for cells in table)])


def _row(group: Group, name: str, field: FieldInfo) -> list[str]:
    full = f"{group.path}.{name}".strip(".")
    meaning, source = _parted(field.description or "")
    return [f'<a id="{full}"></a>`{full}`', default_of(field), values_of(field), escaped(meaning), source]


def _parted(description: str) -> tuple[str, str]:
    """Return a description without the sources that it names, and these."""
    return SOURCE.sub("", description), ", ".join(SOURCE.findall(description))


def default_of(field: FieldInfo) -> str:
    """Say what holds where nothing is set."""
    value = field.get_default(call_default_factory=True)
    if value is None or value is PydanticUndefined:
        return "absent"
    return f"`{_written(value)}`"


def _written(value: Any) -> str:
    """Return a value as YAML would have it in one line."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_written(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_written(each) for each in value) + "]"
    if isinstance(value, BaseModel):
        return _written(value.model_dump(exclude_unset=True))
    return f"{value:g}" if isinstance(value, float) else str(value)


def values_of(field: FieldInfo) -> str:
    """Say what may be set."""
    bounds = [
        words.format(f"{bound:g}")
        for name, words in BOUNDS.items()
        for constraint in field.metadata
        if (bound := getattr(constraint, name, None)) is not None
    ]
    return " ".join([_values(field.annotation), *bounds])


def _values(annotation: Any) -> str:
    """Say what values of a type are."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _values(arguments[0])
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in arguments)
    if origin in (Union, types.UnionType):
        return " or ".join(_values(each) for each in arguments if each is not type(None))
    if origin in (list, tuple):
        return f"list of {_values(arguments[0])}"
    if origin is dict:
        return f"name: {_values(arguments[1])}"
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        return "section, see below"
    return WORDS[annotation]


def escaped(text: str) -> str:
    """Return text that Markdown shows as it is, but for what stands between backticks: that is code."""
    parts = text.split("`")
    parts[::2] = [re.sub(r"([\\|<*_{}\[\]])", r"\\\1", part) for part in parts[::2]]
    return "`".join(parts)
