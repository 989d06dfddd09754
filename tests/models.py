"""Small random language models, text tokenizers and scorers, made from configs, for tests."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from sidrec.models import make_model
from sidrec.scoring import SIDScorer
from sidrec.sections import ModelConfig
from sidrec.trie import SIDTrie

KINDS = ["qwen2", "qwen3", "llama"]
# Windows shorter than the prompts, so that a mask by place instead of by position would show.
WINDOWED = {
    "mistral": {"sliding_window": 4},
    "gemma2": {"sliding_window": 4, "head_dim": 8},
    "gemma3_text": {
        "sliding_window": 4,
        "head_dim": 8,
        "layer_types": ["sliding_attention", "full_attention"],
    },
    "qwen2": {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1},
}
SIZES = (5, 6, 4)
FIRST = 20  # the first SID token id
PADDED = 5  # rows that the models of `save_foreign_model` have beyond their text tokenizer
QWEN3_TOKENIZER = Path(__file__).parents[2] / "shared" / "models" / "qwen3-tokenizer"
TEXTS = [
    "The red lamp, by Lumo",
    "A blue chair",
    "Garden hose, 20 m",
    "The red garden chair",
    "A lamp by Lumo",
]


def small_model(
    kind: str = "qwen3", *, vocab_size: int = 60, seed: int = 0, **overrides: object
) -> PreTrainedModel:
    torch.manual_seed(seed)
    settings = {
        "vocab_size": vocab_size,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
        "initializer_range": 0.3,  # far from uniform, so that rankings have no near ties
        "tie_word_embeddings": True,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
    }
    if kind == "qwen3":
        settings["head_dim"] = 8
    config = AutoConfig.for_model(kind, **(settings | overrides))
    return AutoModelForCausalLM.from_config(config).eval()


def text_tokenizer() -> PreTrainedTokenizerBase:
    """The byte-level BPE of the presets, trained on `TEXTS`: ids 0, 1, 2 are pad, bos, eos."""
    settings = ModelConfig(text_vocabulary_size=300)
    return make_model(settings, TEXTS, codebook_sizes=(), max_positions=64, seed=0)[1]


def save_foreign_model(directory: Path, kind: str = "qwen3", *, padded: int = PADDED, **settings) -> Path:
    """Write what a user brings: a model and its text tokenizer in one directory, without SID tokens.

    The mean of its rows is 1, not 0, as training would leave it: a fresh row of transformers' is too short.
    """
    words = text_tokenizer()
    model = small_model(kind, vocab_size=len(words) + padded, **settings)
    with torch.no_grad():
        for weight in {model.get_input_embeddings().weight, model.get_output_embeddings().weight}:
            weight += 1
    model.save_pretrained(directory)
    words.save_pretrained(directory)
    return directory


def qwen3_tokenizer() -> PreTrainedTokenizerBase:
    """The real one, with a chat template and without a BOS token."""
    if not QWEN3_TOKENIZER.is_dir():
        pytest.skip(f"{QWEN3_TOKENIZER} is not there")
    return AutoTokenizer.from_pretrained(QWEN3_TOKENIZER, padding_side="left")


def sentencepiece_words() -> PreTrainedTokenizerBase:
    """One that opens every text with a space, written ▁, as those of Llama 2 and Mistral do."""
    letters = {chr(code): code for code in range(32, 127)}
    vocabulary = {"<unk>": 0, "<s>": 1, "</s>": 2, "▁": 3, **letters, "lamp": 127, "▁lamp": 128}
    pairs = [("l", "a"), ("la", "m"), ("lam", "p"), ("▁", "lamp")]
    vocabulary |= {"la": 129, "lam": 130}
    bpe = Tokenizer(models.BPE(vocabulary, pairs, unk_token="<unk>"))
    bpe.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe, bos_token="<s>", eos_token="</s>", pad_token="</s>", unk_token="<unk>"
    )


def word_pieces() -> PreTrainedTokenizerBase:
    """An encoder's tokenizer of words and pieces of words, with [CLS] and [SEP] around a text."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    trainer = trainers.WordPieceTrainer(vocab_size=90, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(TEXTS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]")


def save_encoder(directory: Path, kind: str, *, padding_side: str = "right", **overrides: object) -> Path:
    """Save a model that reads texts: bert, roberta (positions count from 1), or a whole causal LM."""
    if kind in ("bert", "roberta"):
        text_tokenizer_, vocab_size = word_pieces(), 90
        shape = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
        ids = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
        torch.manual_seed(0)
        settings = {"vocab_size": vocab_size, "max_position_embeddings": 64, "initializer_range": 0.3}
        config = AutoConfig.for_model(kind, **(settings | shape | ids | overrides))
        AutoModel.from_config(config).save_pretrained(directory)
    else:
        text_tokenizer_ = text_tokenizer()
        small_model(kind, vocab_size=300, **overrides).save_pretrained(directory)
    text_tokenizer_.padding_side = padding_side
    text_tokenizer_.save_pretrained(directory)
    return directory


def sid_token_ids(sizes=SIZES):
    starts = FIRST + np.concatenate([[0], np.cumsum(sizes)[:-1]])
    return [list(range(start, start + size)) for start, size in zip(starts.tolist(), sizes, strict=True)]


def random_codes(num_items=40, sizes=SIZES, seed=0, unique=True):
    rng = np.random.default_rng(seed)
    if unique:
        flat = rng.choice(int(np.prod(sizes)), num_items, replace=False)
        return np.stack(np.unravel_index(flat, sizes), axis=1)
    return np.stack([rng.integers(0, size, num_items) for size in sizes], axis=1)


def random_prompts(seed=0, lengths=(3, 9, 5)):
    rng = np.random.default_rng(seed)
    return [rng.integers(3, FIRST, n).tolist() for n in lengths]


def small_scorer(kind="qwen3", normalization="vocabulary", codes=None, sizes=SIZES, **overrides):
    codes = random_codes(sizes=sizes) if codes is None else codes
    model = small_model(kind, **overrides)
    return SIDScorer(model, sid_token_ids(sizes), SIDTrie(codes), normalization), codes
