"""sidrec: generative recommendation with semantic IDs.

Public names load on first use, so that `import sidrec` loads neither torch nor transformers.
"""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "Catalog": "sidrec.catalog",
    "Config": "sidrec.config",
    "load_config": "sidrec.config",
    "Recommender": "sidrec.recommender",
    "SIDTrie": "sidrec.trie",
    "SIDLogitsProcessor": "sidrec.decoding",
    "constrained_beam_search": "sidrec.decoding",
    "exact_topk": "sidrec.decoding",
    "RQVAE": "tokenizer.rqvae",
    "SemanticIDs": "tokenizer.semantic_ids",
    "tokenize": "sidrec.library",
    "sft": "sidrec.library",
    "rl": "sidrec.library",
    "evaluate": "sidrec.library",
    "run_baselines": "sidrec.library",
    "add_items": "sidrec.stages.addition",
    "compare": "sidrec.comparison",
    "run": "sidrec.library",
}
__all__ = sorted(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'sidrec' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(importlib.import_module(_PUBLIC[name]), name)


def _check_tokenizer_package() -> None:
    """Refuse, without executing it, a package `tokenizer` that is not ours but stands first on the path."""
    spec = importlib.util.find_spec("tokenizer")
    origin = None if spec is None else spec.origin
    if origin is None or "__sidrec__" not in Path(origin).read_text(encoding="utf-8", errors="replace"):
        raise ImportError(
            f"sidrec needs its own package `tokenizer`, but Python finds {origin or 'none'}. Rename or "
            "uninstall that one, or start Python in another directory."
        )


_check_tokenizer_package()
