"""Find items by their codes: beam search over the trie of all semantic IDs, and only over it."""

from sidrec.decoding.beam_search import PromptReader, constrained_beam_search
from sidrec.decoding.causal_lm import CausalLM, Prefix
from sidrec.decoding.exact import exact_scores, exact_topk, rank_all
from sidrec.decoding.processor import SIDLogitsProcessor
from sidrec.decoding.prompts import pad_prompts
from sidrec.decoding.search import Beams, Ranking

__all__ = [
    "Beams",
    "CausalLM",
    "Prefix",
    "PromptReader",
    "Ranking",
    "SIDLogitsProcessor",
    "constrained_beam_search",
    "exact_scores",
    "exact_topk",
    "pad_prompts",
    "rank_all",
]
