"""The code blocks of the documentation, and the reasons given for those that are not run."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))
READMES = [ROOT / "README.md", ROOT / "tokenizer" / "README.md"]
FENCE = re.compile(
    r"(?:^<!-- not run: (?P<reason>[^\n]+) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """A code block.

    Attributes:
        page: Where it stands.
        line: Of its first line, from 1.
        language: After the fence; empty without one.
        text: What it holds.
        reason: Why it is not run; empty where it is.
    """

    page: Path
    line: int
    language: str
    text: str
    reason: str

    @property
    def name(self) -> str:
        """For the name of a test."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(language: str, pages: list[Path]) -> list[Block]:
    """Return the blocks of a language."""
    return [
        Block(
            page, text.count("\n", 0, match.start("text")) + 1, language, match["text"], match["reason"] or ""
        )
        for page in pages
        for text in [page.read_text(encoding="utf-8")]
        for match in FENCE.finditer(text)
        if match["language"] == language
    ]
