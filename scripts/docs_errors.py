"""Every sentence that ends a command with status 2, as Markdown: read from the code, which is not run.

A sentence is what is handed to one of the classes of `sidrec.errors`, or to `ValueError` in a validator of
the config; what differs from case to case stands between braces, by its name in the code.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from docs_settings import escaped, groups

from sidrec import errors

ROOT = Path(__file__).resolve().parents[1]
CLASSES = {
    name: each
    for name, each in vars(errors).items()
    if inspect.isclass(each) and issubclass(each, errors.SidrecError)
}
AREAS = {
    "Settings": "settings, and whether they fit together",
    "sidrec.catalog": "reading, filtering and dividing a catalogue",
    "sidrec.embedding": "vectors of the items",
    "sidrec.stages": "the stages of a run",
    "sidrec.rewards": "rewards of RL",
    "sidrec.trainers": "training",
    "sidrec.tasks": "tasks of SFT",
    "sidrec": "all else",
}


@dataclass(frozen=True)
class Sentence:
    """One message.

    Attributes:
        kind: Name of its class.
        text: What is said.
        doing: What was being done: the summary of the function, or of the module.
        module: Where it is said.
    """

    kind: str
    text: str
    doing: str
    module: str


def errors_page() -> str:
    """Return what each class stands for, and a table of the sentences of every area."""
    return in_tables(sentences())


def in_tables(found: list[Sentence]) -> str:
    """Put sentences in tables by area, below what their classes stand for."""
    classes = [f"| `{name}` | {escaped(inspect.getdoc(each) or '')} |" for name, each in CLASSES.items()]
    head = "\n".join(["| class | meaning |", "|---|---|", *classes])
    return "\n\n".join([head, *(_area(area, found) for area in AREAS)])


def sentences() -> list[Sentence]:
    """Return all sentences of the package, in the order of files and lines."""
    settings = {group.model.__module__ for group in groups()}
    found: list[Sentence] = []
    for path in sorted((ROOT / "sidrec").rglob("*.py")):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        names = {*CLASSES, "ValueError"} if module in settings else set(CLASSES)
        source = path.read_text(encoding="utf-8")
        if not any(f"{name}(" in source for name in names):
            continue
        tree = ast.parse(source)
        found += _said(tree, module, names, [ast.get_docstring(tree) or ""])
    return found


def _said(node: ast.AST, module: str, names: set[str], docstrings: list[str]) -> Iterator[Sentence]:
    for child in ast.iter_child_nodes(node):
        documented = isinstance(child, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(child)
        inner = [*docstrings, documented] if documented else docstrings
        if isinstance(child, ast.Call) and isinstance(child.func, ast.Name) and child.func.id in names:
            text = "".join(_parts(child.args[0])) if child.args else ""
            if any(letter.isalpha() for letter in text.replace("{...}", "")):
                kind = "ConfigError" if child.func.id == "ValueError" else child.func.id
                yield Sentence(kind, text, inner[-1].partition("\n\n")[0].replace("\n", " "), module)
        yield from _said(child, module, names, inner)


def _parts(node: ast.AST) -> Iterator[str]:
    """Yield the pieces of a message; what is computed becomes its name between braces."""
    if isinstance(node, ast.Constant):
        yield str(node.value)
    elif isinstance(node, ast.JoinedStr):
        for value in node.values:
            yield from _parts(value)
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        yield from (*_parts(node.left), *_parts(node.right))
    else:
        value = node.value if isinstance(node, ast.FormattedValue) else node
        named = isinstance(value, ast.Name | ast.Attribute)
        yield "{" + ast.unparse(value).removeprefix("self.") + "}" if named else "{...}"


def _area(area: str, found: list[Sentence]) -> str:
    of_area = [each for each in found if area_of(each) == area]
    rows = [
        f"| {_code(each.text)} | {escaped(each.doing)} | `{each.kind}`, `{each.module}` |" for each in of_area
    ]
    head = "| what is said | while | class and module |\n|---|---|---|"
    return "\n".join([f"## {AREAS[area][0].upper()}{AREAS[area][1:]}", "", head, *rows])


def area_of(sentence: Sentence) -> str:
    """Return the area of a sentence: the most particular that its module lies in."""
    if sentence.kind == "ConfigError" and sentence.module.count(".") == 1:
        return "Settings"
    return next(area for area in AREAS if f"{sentence.module}.".startswith(f"{area}."))


def _code(text: str) -> str:
    return f"`` {' '.join(text.split())} ``" if "`" in text else f"`{' '.join(text.split())}`"
