"""A language model with the semantic IDs and prompts it was trained on: what every stage after SFT uses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from sidrec.adapters import Base, load_merged
from sidrec.artifacts import check_outputs, read_json, write_json
from sidrec.attention import evaluating
from sidrec.decoding import CausalLM, Prefix, Ranking, constrained_beam_search, exact_topk, rank_all
from sidrec.errors import ArtifactError, ConfigError
from sidrec.generations import FIRST, Generation, open_generation
from sidrec.item_embedding import item_embedding_of
from sidrec.item_rows import NAME, item_rows, reranked
from sidrec.item_sum import sum_items
from sidrec.models import with_head
from sidrec.processes import training_device
from sidrec.prompts import PromptBuilder, PromptSettings
from sidrec.scoring import SIDScorer
from sidrec.trie import SIDTrie
from sidrec.vocabulary import SIDVocabulary
from tokenizer.semantic_ids import SemanticIDs

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from sidrec.sections import Normalization


TITLES = "titles.json"
"""In a model directory, where titles name the items."""
OWN_ROWS = "item_rows.safetensors"
"""In a model directory, where items have rows of their own, see `sidrec.item_rows`."""


@dataclass(frozen=True)
class SIDModel:
    """Model, text tokenizer, semantic IDs, prompts, scorer and reader of prompts that belong together.

    Attributes:
        trie: What may be recommended: the scorer's trie, or a subset of it without retired items.
        generation: Of the items, when they were read from disk.
        titles: Of the items, where those name them.
        own_rows: (N, H) of `sidrec.item_rows`, if it was trained with them; zeros for items added since.
        rerank: Weight of log p(item) in the order of the lists that a beam search finds; 0: none.
    """

    model: PreTrainedModel
    text_tokenizer: PreTrainedTokenizerBase
    semantic_ids: SemanticIDs
    prompts: PromptBuilder
    scorer: SIDScorer
    reader: CausalLM
    trie: SIDTrie
    generation: Generation | None = None
    titles: Sequence[str] | None = None
    own_rows: Tensor | None = None
    rerank: float = 0.0

    @classmethod
    def assemble(
        cls,
        model: PreTrainedModel,
        text_tokenizer: PreTrainedTokenizerBase,
        semantic_ids: SemanticIDs,
        settings: PromptSettings,
        *,
        titles: Sequence[str] | None = None,
        memory_mb: int | None = None,
    ) -> SIDModel:
        """Put the parts together.

        Args:
            model: A causal LM.
            text_tokenizer: Its own, with a token for every code.
            semantic_ids: Of the catalogue.
            settings: Of the prompts.
            titles: Of the items, for `settings.identifiers=title`.
            memory_mb: What a group of prompts may take; None: what `CausalLM` sees fit.

        Raises:
            ArtifactError: If the text tokenizer lacks a SID token.
            ConfigError: If the model cannot read its prompts with `settings.history=merged`, or
                `settings.skip_connection` would change nothing.
        """
        vocabulary = SIDVocabulary.find_in(text_tokenizer, semantic_ids.codebook_sizes)
        if settings.last_token == "sum":
            sum_items(model, vocabulary.token_ids)
        if (own := item_embedding_of(model)) is not None:
            own.take(torch.tensor(semantic_ids.codes))
        prompts = PromptBuilder(settings, text_tokenizer, vocabulary, semantic_ids.codes, titles)
        token_ids = vocabulary.token_ids if settings.identifiers == "sid" else None
        merges = settings.history == "merged"
        trie = SIDTrie(prompts.codes)
        scorer = SIDScorer(
            model,
            token_ids,
            trie,
            settings.normalization,
            merges_items=merges,
            skips=settings.skip_connection,
        )
        reader = CausalLM(scorer, memory_budget=None if memory_mb is None else memory_mb * 2**20)
        return cls(model, text_tokenizer, semantic_ids, prompts, scorer, reader, scorer.trie, titles=titles)

    def save(self, directory: Path, weights: dict[str, Tensor] | None = None) -> None:
        """Write a Hugging Face model directory with `semantic_ids.parquet` and `prompts.json` in it.

        Of a model with adapters only those are written; who trained them adds `base.json`.

        Args:
            directory: There already.
            weights: The model's, where it holds only a part of them itself.
        """
        self.model.save_pretrained(directory, state_dict=weights)
        self.text_tokenizer.save_pretrained(directory)
        self.semantic_ids.save(directory / "semantic_ids.parquet")
        self.prompts.settings.save(directory / "prompts.json")
        if self.own_rows is not None:
            save_file({NAME: self.own_rows.contiguous()}, directory / OWN_ROWS)
        if self.titles is not None:
            write_json(directory / TITLES, list(self.titles))

    @classmethod
    def load(
        cls,
        directory: Path,
        *,
        generation: int | None = None,
        device: torch.device | str | None = None,
        memory_mb: int | None = None,
    ) -> SIDModel:
        """Read what `save` wrote, with the items that were added to the run since.

        Args:
            directory: The model directory.
            generation: Of the run's items: 1 those that the model was trained on; None the newest.
            device: Where the weights go; None: where training would have them.
            memory_mb: As for `assemble`.

        Raises:
            ArtifactError: If a file is missing or is not the one that was written, there is no such
                generation, it is of other semantic IDs than the model was trained on, or the base of adapters
                has moved or changed.
        """
        from transformers import AutoModelForCausalLM, AutoTokenizer

        import sidrec.depth_model  # noqa: F401  (makes it known to AutoModelForCausalLM)

        if not (directory / "prompts.json").is_file():
            raise ArtifactError(
                f"{directory} is not a model directory of sidrec: it has no prompts.json. "
                "Give the sft or rl directory of a run, such as runs/demo/rl."
            )
        if (directory / "manifest.json").is_file() and (problems := check_outputs(directory)):
            raise ArtifactError(" ".join(problems) + f" Delete {directory} and rerun its stage.")
        settings = PromptSettings.model_validate(read_json(directory / "prompts.json"))
        items = open_generation(directory, generation)
        text_tokenizer = AutoTokenizer.from_pretrained(directory, padding_side="left")
        model: PreTrainedModel
        if (base := Base.read(directory)) is not None:
            token_ids = SIDVocabulary.find_in(text_tokenizer, items.semantic_ids.codebook_sizes).token_ids
            finish = partial(with_head, head=settings.head, token_ids=token_ids)
            model = load_merged(directory, base, text_tokenizer, finish)
        else:
            model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
        model.eval()
        torch.nn.Module.to(model, training_device() if device is None else device)
        titles = None if settings.identifiers == "sid" else _read_titles(directory, items)
        whole = cls.assemble(
            model, text_tokenizer, items.semantic_ids, settings, titles=titles, memory_mb=memory_mb
        )
        # The scores stay those over all items: what a prefix had of retired ones does not go to the others.
        trie = whole.scorer.trie.subset(items.remaining()) if items.retired else whole.trie
        own = _read_own_rows(directory, len(items.semantic_ids.codes), whole.reader.device)
        return replace(whole, trie=trie, generation=items, own_rows=own)

    def rank(
        self,
        histories: Sequence[Sequence[int] | np.ndarray],
        *,
        num_beams: int,
        on_batch: Callable[[int, int], None] | None = None,
        ranking: Literal["beam", "exact"] = "beam",
        exclude_history: bool = False,
        prefix: Prefix | None = None,
    ) -> Ranking:
        """Rank items after each history of catalogue rows; the model is put into evaluation mode for it.

        Args:
            histories: Oldest first; a prompt shows the newest `max_history` items.
            num_beams: M: the length of the lists, and the width of a beam search.
            on_batch: Called with (prompts done, prompts in all) after each group.
            ranking: `beam`: constrained beam search, which prunes; `exact`: the exact best.
            exclude_history: Leave out all items of a history, those too that its prompt no longer shows.
            prefix: What `read_prefix` returned, for a beam search; weights must not have changed since.

        Raises:
            ValueError: If `ranking` is neither, or `num_beams` is below 1.
            RuntimeError: If the weights hold NaN.
        """
        if ranking not in ("beam", "exact"):
            raise ValueError(f'ranking is "{ranking}", expected "beam" or "exact".')
        prompts = [self.prompts.next_item(list(history)) for history in histories]
        excluded = [np.asarray(history, dtype=np.int64) for history in histories] if exclude_history else None
        with evaluating(self.model):
            if ranking == "exact":
                return self._exact(prompts, num_beams, excluded, on_batch)
            return constrained_beam_search(
                self.reader,
                self.trie,
                prompts,
                num_beams=num_beams,
                excluded=excluded,
                prefix=prefix,
                rescore=self._rescore() if self.rerank else None,
                on_batch=on_batch,
            )

    def reranking(self, weight: float) -> SIDModel:
        """Return the same model, whose lists stand in the order of log p(SID) + weight * log p(item).

        Raises:
            ConfigError: If the weight is negative or no number, the model was not trained to tell whole
                items, or it reads each beam with its prompt.
        """
        if not 0 <= weight < float("inf"):
            raise ConfigError(f"rerank is {weight}, expected a number from 0 on, such as 0.5.")
        if weight == self.rerank:
            return self
        if not self.prompts.settings.tells_items:
            raise ConfigError(
                "This model was trained without sft.item_loss, so it cannot tell whole items, by which "
                "evaluation.rerank orders lists. Set rerank to 0, or train it with sft.item_loss=0.5."
            )
        self.scorer.require_shared_prompts()
        return replace(self, rerank=weight)

    def _rescore(self) -> Callable[[Any, Ranking], Ranking]:
        rows = self.output_rows()
        return lambda beams, found: reranked(rows, beams.prompt_states, found, self.rerank)

    @torch.no_grad()
    def output_rows(self) -> Tensor:
        """Return by what whole items are told, (N, H): see `sidrec.item_rows`."""
        read = item_embedding_of(self.model)  # what a history is read with tells the next, too
        codes = torch.tensor(self.prompts.codes).to(self.reader.device)
        return item_rows(self.scorer, codes, self.own_rows if read is None else read.weight)

    @property
    def num_parameters(self) -> int:
        """How many weights its lists are made with: those of items' own too where they order the lists."""
        own = 0 if self.own_rows is None or not self.rerank else self.own_rows.numel()
        return self.model.num_parameters() + own

    def search(self, prompts: Sequence[Sequence[int]], *, num_beams: int) -> Ranking:
        """Find the best items after prompts of any task, given as tokens; the model is put into evaluation
        mode for it.
        """
        with evaluating(self.model):
            return constrained_beam_search(self.reader, self.trie, prompts, num_beams=num_beams)

    def normalized_over(self, normalization: Normalization | None) -> SIDModel:
        """Return the same model with log-probabilities that are normalized otherwise; None: as they are.

        What it is saved with, and how it ranks when it is loaded, stays what it was trained with.
        """
        if normalization is None or normalization == self.scorer.normalization:
            return self
        scorer = self.scorer.of(self.model, normalization)
        return replace(self, scorer=scorer, reader=CausalLM(scorer, memory_budget=self.reader.memory_budget))

    def read_prefix(self) -> Prefix:
        """Read what every prompt for a next item begins with, once for all later calls of `rank`."""
        with evaluating(self.model):
            return self.reader.read_prefix(self.prompts.next_item_prefix())

    def _exact(
        self,
        prompts: list[list[int]],
        num_beams: int,
        excluded: list[np.ndarray] | None,
        on_batch: Callable[[int, int], None] | None,
    ) -> Ranking:
        """Prove the best of most rows cheaply; score all items for those where that would take too long."""
        found = exact_topk(
            self.reader,
            self.trie,
            prompts,
            num_beams=num_beams,
            excluded=excluded,
            on_batch=on_batch,
        )
        assert found.complete is not None
        rest = (~found.complete).nonzero().squeeze(1)
        if len(rest):
            rows = rest.tolist()
            dear = rank_all(
                self.reader,
                self.trie,
                [prompts[row] for row in rows],
                num_beams=num_beams,
                excluded=None if excluded is None else [excluded[row] for row in rows],
            )
            found.items[rest], found.codes[rest], found.scores[rest] = dear.items, dear.codes, dear.scores
        return found


def _read_own_rows(directory: Path, num_items: int, device: torch.device) -> Tensor | None:
    """Read the items' own rows, zeros for those that were added since."""
    if not (directory / OWN_ROWS).is_file():
        return None
    own = load_file(directory / OWN_ROWS)[NAME].to(device)
    return torch.nn.functional.pad(own, (0, 0, 0, num_items - len(own)))


def _read_titles(directory: Path, items: Generation) -> list[str]:
    """Read the titles of a generation of items, which name them."""
    if items.number == FIRST:
        titles: list[str] = read_json(directory / TITLES)
        return titles
    return items.titles()
