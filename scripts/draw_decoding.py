#!/usr/bin/env python3
"""Draw docs/decoding.svg: who sees whom when one prompt is read for many beams, as the search masks it.

Usage: python scripts/draw_decoding.py [FILE.svg]
"""

import sys
from html import escape
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM

from sidrec import SIDTrie, constrained_beam_search
from sidrec.attention import AttentionKind

PROMPT, BEAMS, CELL, LEFT, TOP = 5, 3, 30, 96, 92
COLOURS = {"prompt": "#8a94a6", "own": "#2f6fb0", "ancestor": "#e08a1e"}
STYLE = """
  text { font-family: system-ui, sans-serif; font-size: 12px; fill: #3b4252; }
  .title { font-size: 15px; font-weight: 600; }
  .small { font-size: 11px; fill: #6b7385; }
  .grid { fill: none; stroke: #c9ced8; }
  .bar { stroke: #6b7385; stroke-width: 1.5; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e5e9f0; } .small { fill: #aab2c0; } .grid { stroke: #4c566a; }
  }
"""


def record() -> tuple[np.ndarray, list[int]]:
    """Search once with a small random model: (T, T) bool of who sees whom, and the T positions."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        "qwen2",
        vocab_size=40,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        intermediate_size=16,
    )
    model = AutoModelForCausalLM.from_config(config).eval()
    codes = np.stack(np.unravel_index(np.arange(0, 64, 2), (4, 4, 4)), axis=1) + np.array([10, 20, 30])
    seen: list[Tensor] = []
    places: list[Tensor] = []
    masks = AttentionKind.masks

    def recording(
        self: AttentionKind, visible: Tensor, queries: Tensor, keys: Tensor, dtype: torch.dtype
    ) -> object:
        seen.append(visible[0])
        places.append(keys[0])
        return masks(self, visible, queries, keys, dtype)

    AttentionKind.masks = recording  # type: ignore[assignment,method-assign]
    trie = SIDTrie(codes)
    constrained_beam_search(model, trie, [[1, 2, 3, 4, 5]], num_beams=BEAMS)
    levels = seen[-2:]  # the passes of the beams; before them the model was tried out
    total = PROMPT + 2 * BEAMS
    whole = np.zeros((total, total), dtype=bool)
    whole[:PROMPT, :PROMPT] = np.tril(np.ones((PROMPT, PROMPT), dtype=bool))
    for level, visible in enumerate(levels):
        start = PROMPT + level * BEAMS
        whole[start : start + BEAMS, : visible.shape[1]] = visible.numpy()
    return whole, places[-1].tolist()


def draw(visible: np.ndarray, positions: list[int]) -> str:
    """Return the picture: the tokens of one row above and beside the matrix of who sees whom."""
    names = [f"p{n}" for n in range(PROMPT)]
    names += [f"{name}{n + 1}" for name in "ab" for n in range(BEAMS)]
    size = len(names) * CELL
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LEFT + size + 330} {TOP + size + 20}" '
        'role="img" aria-label="Who sees whom when a prompt is read once for three beams">',
        f"<style>{STYLE}</style>",
        f'<text class="title" x="{LEFT}" y="24">One row: a prompt, and three beams side by side</text>',
        text(LEFT - 12, 62, "token", anchor="end"),
        text(LEFT - 12, 80, "position", anchor="end", kind="small"),
    ]
    for place, (name, position) in enumerate(zip(names, positions, strict=True)):
        middle = LEFT + place * CELL + CELL / 2
        parts.append(text(middle, 62, name, anchor="middle"))
        parts.append(text(middle, 80, str(position), anchor="middle", kind="small"))
        parts.append(text(LEFT - 12, TOP + place * CELL + 20, name, anchor="end"))
    for row, column in np.argwhere(visible):
        kind = "prompt" if column < PROMPT else "own" if row == column else "ancestor"
        parts.append(
            f'<rect x="{LEFT + column * CELL + 2}" y="{TOP + row * CELL + 2}" width="{CELL - 4}" '
            f'height="{CELL - 4}" rx="4" fill="{COLOURS[kind]}"/>'
        )
    parts.append(f'<rect class="grid" x="{LEFT}" y="{TOP}" width="{size}" height="{size}"/>')
    for edge in (PROMPT, PROMPT + BEAMS):
        at = edge * CELL
        parts.append(f'<path class="bar" d="M{LEFT + at} {TOP}v{size}M{LEFT} {TOP + at}h{size}"/>')
    notes = [
        ("prompt", "the prompt: read once, seen by all beams"),
        ("own", "the beam's own new token"),
        ("ancestor", "the token of the beam it grew from"),
    ]
    for line, (kind, note) in enumerate(notes):
        y = TOP + 26 + 28 * line
        parts.append(
            f'<rect x="{LEFT + size + 24}" y="{y - 12}" width="16" height="16" rx="4" '
            f'fill="{COLOURS[kind]}"/>'
        )
        parts.append(text(LEFT + size + 48, y + 1, note))
    explained = [
        "Beams of a level share a position, so the model",
        "takes each for the token right after the prompt",
        "(or after its ancestor). Keys are appended, never",
        "moved: a kept beam is a row of this matrix,",
        "not a copy of the cache.",
    ]
    for line, note in enumerate(explained):
        parts.append(text(LEFT + size + 24, TOP + 130 + 20 * line, note, kind="small"))
    return "\n".join([*parts, "</svg>\n"])


def text(x: float, y: float, words: str, *, anchor: str = "start", kind: str = "") -> str:
    """Return a line of text."""
    return f'<text class="{kind}" x="{x:g}" y="{y:g}" text-anchor="{anchor}">{escape(words)}</text>'


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else Path("docs/decoding.svg")
    target.write_text(draw(*record()), encoding="utf-8")
