"""Make the language model: a preset from scratch, or any causal LM with new rows for SID tokens."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sidrec.errors import ConfigError
from sidrec.sid_rows import NearMean, Start
from sidrec.vocabulary import SIDVocabulary

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from sidrec.sections import ModelConfig

# Qwen3 shapes: (hidden, layers, heads, MLP). tiny has about 1M parameters with a text vocabulary of 1,000.
PRESETS = {"tiny": (128, 3, 4, 384), "small": (256, 6, 4, 768), "base": (512, 8, 8, 1536)}
BOS, EOS, PAD = "<|bos|>", "<|eos|>", "<|pad|>"


def make_model(
    config: ModelConfig,
    texts: Iterable[str],
    codebook_sizes: tuple[int, ...],
    *,
    max_positions: int,
    seed: int,
    start: Start | None = None,
    load_in_4bit: bool = False,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, SIDVocabulary]:
    """Return a model, its text tokenizer with SID tokens added, and where those are.

    Args:
        config: `model.path` (any causal LM) or `model.preset` (from scratch).
        texts: The catalogue's own texts; a preset's text tokenizer is trained on them.
        codebook_sizes: K per level.
        max_positions: Longest row a preset must take, in tokens.
        seed: Of all new weights.
        start: Where the rows of new SID tokens begin; None: near the mean of text rows, and in a preset
            as all its weights do.
        load_in_4bit: Keep the linear layers of `model.path` in 4 bits.

    Raises:
        ConfigError: If `model.path` holds no causal language model, or 4 bits cannot be had here.
    """
    import torch

    model = None if config.path is None else load_model(config.path, load_in_4bit=load_in_4bit)
    text_tokenizer = make_text_tokenizer(config, texts)
    known = set(text_tokenizer.get_vocab().values())
    vocabulary = SIDVocabulary.add_to(text_tokenizer, codebook_sizes)
    token_ids = [token_id for ids in vocabulary.token_ids for token_id in ids]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if model is None:
            model = _from_scratch(config, text_tokenizer, max_positions)
        else:
            start = start or NearMean(codebook_sizes)
        if start is not None:
            _start_rows(model, text_tokenizer, token_ids, known, start)
        model = with_head(model, config.head, vocabulary.token_ids)
    forget_sampling(model, text_tokenizer)
    return model, text_tokenizer, vocabulary


def with_head(
    model: PreTrainedModel, head: Literal["lm", "depth"], token_ids: list[list[int]]
) -> PreTrainedModel:
    """Return a language model as it is, or with a new depth head.

    Args:
        model: With rows for SID tokens.
        head: As `model.head`.
        token_ids: Level by level, the token id of every code.
    """
    if head == "lm":
        return model
    from sidrec.depth_model import DepthModel

    return DepthModel.around(model, token_ids)


def forget_sampling(model: Any, text_tokenizer: PreTrainedTokenizerBase) -> None:
    """Drop an Instruct model's defaults (top_k, top_p): they must never filter after a constraint."""
    model.generation_config = type(model.generation_config)(
        bos_token_id=text_tokenizer.bos_token_id,
        eos_token_id=text_tokenizer.eos_token_id,
        pad_token_id=text_tokenizer.pad_token_id,
    )


def make_room(model: Any, text_tokenizer: PreTrainedTokenizerBase) -> None:
    """Give the model a row for each token; a padded vocabulary, longer than its tokenizer, stays so."""
    size = model.get_input_embeddings().weight.shape[0]
    model.resize_token_embeddings(max(size, len(text_tokenizer)), mean_resizing=False)


def make_text_tokenizer(config: ModelConfig, texts: Iterable[str]) -> PreTrainedTokenizerBase:
    """Return the text tokenizer that `make_model` would, without SID tokens and without the model.

    Raises:
        ConfigError: If `model.path` holds none.
    """
    if config.path is not None:
        return _load_text_tokenizer(config.path)
    return _train_text_tokenizer(texts, config.text_vocabulary_size)


def _train_text_tokenizer(texts: Iterable[str], size: int) -> PreTrainedTokenizerBase:
    """Train a byte-level BPE: every text can be written, none becomes an unknown token."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    bpe.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=size,
            special_tokens=[PAD, BOS, EOS],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe, bos_token=BOS, eos_token=EOS, pad_token=PAD, padding_side="left"
    )


def _from_scratch(
    settings: ModelConfig, text_tokenizer: PreTrainedTokenizerBase, max_positions: int
) -> PreTrainedModel:
    from transformers import Qwen3Config, Qwen3ForCausalLM

    hidden, layers, heads, mlp = PRESETS[settings.preset]
    if settings.hidden_size is not None:
        hidden, mlp = settings.hidden_size, 3 * settings.hidden_size
    layers, heads = settings.num_layers or layers, settings.num_heads or heads
    mlp = settings.intermediate_size or mlp
    if hidden % (2 * heads):
        raise ConfigError(
            f"model: {heads} attention heads do not divide a hidden_size of {hidden} into even widths. Set "
            "model.num_heads and model.hidden_size so that twice the one divides the other."
        )
    config = Qwen3Config(
        vocab_size=len(text_tokenizer),
        hidden_size=hidden,
        intermediate_size=mlp,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        head_dim=hidden // heads,
        max_position_embeddings=max(256, max_positions),
        tie_word_embeddings=True,
        bos_token_id=text_tokenizer.bos_token_id,
        eos_token_id=text_tokenizer.eos_token_id,
        pad_token_id=text_tokenizer.pad_token_id,
    )
    return Qwen3ForCausalLM(config)


def load_model(path: str, *, load_in_4bit: bool = False) -> PreTrainedModel:
    """Load a causal language model from a directory or by its hub name, in float32.

    Raises:
        ConfigError: If there is none, or 4 bits cannot be had here.
    """
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM

    if (Path(path) / "base.json").is_file():
        raise ConfigError(
            f"model.path: {path} holds adapters alone, without the model they belong to. Train it with "
            "sft.merge=true, or name a whole model."
        )
    if Path(path).is_dir() and not (Path(path) / "config.json").is_file():
        raise ConfigError(
            f"model.path: {path} holds no config.json; it is not a Hugging Face model directory."
        )
    options = _four_bits() if load_in_4bit else {}
    try:
        return AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, **options)
    except (OSError, ValueError, SafetensorError) as error:
        raise ConfigError(
            f"model.path: {path} could not be loaded as a causal language model "
            f"({str(error).splitlines()[0]}). Give a directory or hub name that AutoModelForCausalLM takes."
        ) from error


def _four_bits() -> dict[str, Any]:
    """Return how to load linear layers in 4 bits (QLoRA, arXiv:2305.14314): nf4, quantized constants too.

    Raises:
        ConfigError: Without a GPU or bitsandbytes.
    """
    import importlib.util

    import torch
    from transformers import BitsAndBytesConfig

    missing = [] if torch.cuda.is_available() else ["a CUDA GPU"]
    missing += [] if importlib.util.find_spec("bitsandbytes") else ["the package bitsandbytes"]
    if missing:
        raise ConfigError(
            f"sft.load_in_4bit needs {' and '.join(missing)}, which this machine lacks. Set it to false."
        )
    quantization = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16,
    )
    return {"quantization_config": quantization, "device_map": {"": torch.cuda.current_device()}}


def _load_text_tokenizer(path: str) -> PreTrainedTokenizerBase:
    from transformers import AutoTokenizer

    try:
        text_tokenizer = AutoTokenizer.from_pretrained(path, padding_side="left")
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"model.path: the text tokenizer of {path} could not be loaded ({str(error).splitlines()[0]}). "
            "Save the model's own there."
        ) from error
    # Where the files are missing, transformers makes an empty tokenizer of some classes, silently.
    if not text_tokenizer("item", add_special_tokens=False)["input_ids"]:
        raise ConfigError(
            f"model.path: {path} holds no text tokenizer that can encode text. Save the model's own there."
        )
    if text_tokenizer.eos_token_id is None:
        raise ConfigError(
            f"model.path: the text tokenizer of {path} has no end-of-text token, which titles need."
        )
    if text_tokenizer.pad_token_id is None:
        text_tokenizer.pad_token = text_tokenizer.eos_token
    return text_tokenizer


def _start_rows(
    model: Any, text_tokenizer: PreTrainedTokenizerBase, token_ids: list[int], known: set[int], start: Start
) -> None:
    """Give the SID tokens that the model did not know their first rows."""
    import torch

    size_before = model.get_input_embeddings().weight.shape[0]
    make_room(model, text_tokenizer)
    places = [place for place, token_id in enumerate(token_ids) if token_id not in known]
    new = torch.tensor(places, dtype=torch.int64)
    ids = torch.tensor(token_ids)[new]
    of_text = torch.arange(model.get_input_embeddings().weight.shape[0]) < size_before
    of_text[ids] = False
    weights: list[Tensor] = [model.get_input_embeddings().weight]
    if not model.config.get_text_config().tie_word_embeddings:
        weights.append(model.get_output_embeddings().weight)
    with torch.no_grad():
        for weight in weights:
            rows = start(weight, of_text.to(weight.device), text_tokenizer)
            weight[ids] = rows[new.to(rows.device)].to(weight.dtype)
