"""A language model with the semantic IDs and prompts it was trained on: what every stage after SFT uses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

from sidrec.artifacts import check_outputs, load_semantic_ids, read_json
from sidrec.decoding import Ranking, rank_items
from sidrec.errors import ArtifactError
from sidrec.exact import rank_exactly, rank_items_without
from sidrec.prompts import PromptBuilder, PromptSettings
from sidrec.scoring import SIDScorer
from sidrec.trie import SIDTrie
from sidrec.vocabulary import SIDVocabulary
from tokenizer.semantic_ids import SemanticIDs

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def training_device() -> torch.device:
    """Return the device that `transformers.Trainer` moves a model to; masks and tries must be there too."""
    from accelerate.state import PartialState

    return PartialState().device


@dataclass(frozen=True)
class SIDModel:
    """Model, text tokenizer, semantic IDs, prompts and scorer that belong together."""

    model: PreTrainedModel
    text_tokenizer: PreTrainedTokenizerBase
    semantic_ids: SemanticIDs
    prompts: PromptBuilder
    scorer: SIDScorer

    @classmethod
    def assemble(
        cls,
        model: PreTrainedModel,
        text_tokenizer: PreTrainedTokenizerBase,
        semantic_ids: SemanticIDs,
        settings: PromptSettings,
    ) -> SIDModel:
        """Put the parts together.

        Raises:
            ArtifactError: If the text tokenizer lacks a SID token.
            ValueError: If the model cannot be decoded with one shared prompt.
        """
        vocabulary = SIDVocabulary.find_in(text_tokenizer, semantic_ids.codebook_sizes)
        scorer = SIDScorer(
            model, vocabulary.token_ids, SIDTrie(semantic_ids.codes).to(model.device), settings.normalization
        )
        prompts = PromptBuilder(settings, text_tokenizer, vocabulary, semantic_ids.codes)
        return cls(model, text_tokenizer, semantic_ids, prompts, scorer)

    def save(self, directory: Path) -> None:
        """Write a Hugging Face model directory with `semantic_ids.parquet` and `prompts.json` in it."""
        self.model.save_pretrained(directory)
        self.text_tokenizer.save_pretrained(directory)
        self.semantic_ids.save(directory / "semantic_ids.parquet")
        self.prompts.settings.save(directory / "prompts.json")

    @classmethod
    def load(cls, directory: Path, *, device: torch.device | str | None = None) -> SIDModel:
        """Read what `save` wrote, onto `device` or else the one that training would use.

        Raises:
            ArtifactError: If a file is missing or is not the one that was written.
        """
        from transformers import AutoModelForCausalLM, AutoTokenizer

        if not (directory / "prompts.json").is_file():
            raise ArtifactError(
                f"{directory} is not a model directory of sidrec: it has no prompts.json. "
                "Give the sft or rl directory of a run, such as runs/demo/rl."
            )
        if (directory / "manifest.json").is_file() and (problems := check_outputs(directory)):
            raise ArtifactError(" ".join(problems) + f" Delete {directory} and rerun its stage.")
        settings = PromptSettings.model_validate(read_json(directory / "prompts.json"))
        semantic_ids = load_semantic_ids(directory)
        model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
        model.eval()
        torch.nn.Module.to(model, training_device() if device is None else device)
        text_tokenizer = AutoTokenizer.from_pretrained(directory, padding_side="left")
        return cls.assemble(model, text_tokenizer, semantic_ids, settings)

    def rank(
        self,
        histories: Sequence[Sequence[int] | np.ndarray],
        *,
        num_beams: int,
        batch_size: int = 256,
        on_batch: Callable[[int, int], None] | None = None,
        ranking: Literal["beam", "exact"] = "beam",
        exclude_history: bool = False,
    ) -> Ranking:
        """Rank items after each history of catalogue rows; the model is put into evaluation mode for it.

        Args:
            histories: Oldest first; a prompt shows the newest `max_history` items.
            num_beams: M: the length of the lists, and the width of a beam search.
            batch_size: Prompts encoded at once, fewer where memory would not do.
            on_batch: Called with (prompts done, prompts in all) after each batch.
            ranking: `beam`: constrained beam search, which prunes; `exact`: by the score of every item.
            exclude_history: Leave out all items of a history, those too that its prompt no longer shows. A
                beam search is widened for it (`rank_items_without`).

        Raises:
            ValueError: If `ranking` is neither, or `num_beams` is below 1.
            RuntimeError: If the weights hold NaN.
        """
        if ranking not in ("beam", "exact"):
            raise ValueError(f'ranking is "{ranking}", expected "beam" or "exact".')
        exact = ranking == "exact"
        search: Callable[..., Ranking] = rank_exactly if exact else rank_items
        if exclude_history:
            excluded = [np.asarray(history, dtype=np.int64) for history in histories]
            search = partial(rank_exactly if exact else rank_items_without, excluded=excluded)
        was_training = self.model.training
        self.model.eval()
        found = search(
            self.scorer,
            [self.prompts.next_item(list(history)) for history in histories],
            num_beams=num_beams,
            pad_id=self.prompts.pad_id,
            batch_size=batch_size,
            on_batch=on_batch,
        )
        self.model.train(was_training)
        return found
