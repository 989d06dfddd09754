"""Small random language models, made from configs, for tests."""

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

KINDS = ["qwen2", "qwen3", "llama"]


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
