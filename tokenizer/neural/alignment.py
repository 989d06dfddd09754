"""LETTER's two further losses: codes that know who had an item, and code vectors that stand apart.

Source: Wang et al., "Learnable item tokenization for generative recommendation" (arXiv:2405.07314), sections
3.2.2 and 3.2.3, equations 4 and 5; dot products, no temperature, weights and number of clusters as in its
code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from tokenizer.arrays import checked_vectors
from tokenizer.neural.autoencoder import Autoencoder
from tokenizer.neural.networks import MLP
from tokenizer.neural.quantize import Quantized


@dataclass(frozen=True, eq=False)
class Alignment:
    """What the codes are aligned with, and how strongly.

    Attributes:
        vectors: (N, C) collaborative vectors of the items, such as SASRec's item embeddings.
        weight: Of the alignment loss (LETTER: .02).
        diversity_weight: Of the diversity loss (LETTER: 1e-4).
        clusters: Groups of code vectors per level (LETTER: 10).
    """

    vectors: np.ndarray = field(repr=False)
    weight: float = 0.02
    diversity_weight: float = 1e-4
    clusters: int = 10

    def __post_init__(self) -> None:
        for name in ("weight", "diversity_weight"):
            if getattr(self, name) < 0:
                raise ValueError(f"The {name} of an alignment must be 0 or more, got {getattr(self, name)}.")
        if self.clusters < 1:
            raise ValueError(f"The clusters of an alignment must be 1 or more, got {self.clusters}.")


def alignment_loss(quantized: Tensor, collaborative: Tensor) -> Tensor:
    """Score how well each quantized latent finds its own item's collaborative vector among those of the
    batch.

    Args:
        quantized: (B, C).
        collaborative: (B, C).

    Returns:
        Scalar: InfoNCE, -mean_i log(exp(q_i . h_i) / sum_j exp(q_i . h_j)).
    """
    own = torch.arange(len(quantized), device=quantized.device)
    return functional.cross_entropy(quantized @ collaborative.T, own)


def diversity_loss(book: Tensor, codes: Tensor, clusters: Tensor, *, generator: torch.Generator) -> Tensor:
    """Pull the code vectors of a batch to one of their own cluster, and away from all others of the level.

    Args:
        book: (K, d) code vectors.
        codes: (B,) the codes of the batch.
        clusters: (K,) the cluster of each code.
        generator: Draws, for each row, another code of its cluster; on the CPU.

    Returns:
        Scalar: -mean_i log(exp(e_i . e+) / sum over all codes but its own of exp(e_i . e_j)); rows that are
        alone in their cluster do not count, and without any other the loss is 0.
    """
    same = clusters[codes].unsqueeze(1) == clusters.unsqueeze(0)  # (B, K)
    own = functional.one_hot(codes, len(book)).bool()
    others = same & ~own
    has = others.any(dim=1)
    if not bool(has.any()):
        return book.new_zeros(())
    codes, own = codes[has], own[has]
    positive = torch.multinomial(others[has].float().cpu(), 1, generator=generator)[:, 0].to(book.device)
    vectors = functional.embedding(codes, book)
    logits = (vectors @ book.T).masked_fill(own, -torch.inf)
    return functional.cross_entropy(logits, positive)


class Aligner(nn.Module):
    """The two losses of one training: the collaborative vectors of all items, and the clusters of codes.

    Where collaborative vectors are of another width than latents, a linear map between the two is trained
    along; it is no part of the tokenizer.

    Args:
        model: Whose codes are aligned.
        alignment: With what.
        seed: Of the map, the clusters and the drawn codes.
    """

    collaborative: Tensor

    def __init__(self, model: Autoencoder, alignment: Alignment, *, num_items: int, seed: int) -> None:
        super().__init__()
        vectors = checked_vectors(alignment.vectors)
        if len(vectors) != num_items:
            raise ValueError(
                f"There are {len(vectors)} collaborative vectors for {num_items} items; give one to each."
            )
        self.codebooks = list(model.quantizer.codebooks)  # a plain list: they are parameters of the model
        self.weights = {"alignment_loss": alignment.weight, "diversity_loss": alignment.diversity_weight}
        self.num_clusters = alignment.clusters
        self.seed = seed
        self.generator = torch.Generator().manual_seed(seed)
        self.register_buffer("collaborative", torch.from_numpy(vectors.copy()))
        self.map: nn.Module = nn.Identity()
        if vectors.shape[1] != model.settings.latent_dim:
            widths = [model.settings.latent_dim, vectors.shape[1]]
            self.map = MLP(widths, generator=torch.Generator().manual_seed(seed))
        self.clusters: list[Tensor] = []

    def cluster(self, epoch: int) -> None:
        """Divide the codes of each level anew, as their vectors have moved."""
        self.clusters = cluster_codes(self.codebooks, self.num_clusters, seed=self.seed + epoch)

    def losses(self, quantized: Quantized, rows: Tensor) -> dict[str, Tensor]:
        """Give both losses of a batch, not yet weighted; that of diversity is summed over levels."""
        diversity = [
            diversity_loss(book, quantized.codes[:, level], self.clusters[level], generator=self.generator)
            for level, book in enumerate(self.codebooks)
        ]
        return {
            "alignment_loss": alignment_loss(self.map(quantized.latents), self.collaborative[rows]),
            "diversity_loss": torch.stack(diversity).sum(),
        }


def cluster_codes(books: Sequence[Tensor], clusters: int, *, seed: int) -> list[Tensor]:
    """Give, per level, the (K,) cluster of each code: balanced k-means over its code vectors.

    There are no more clusters than half the codes: a code alone in its own has no diversity loss.
    """
    from tokenizer.kmeans import fit_rqkmeans

    result = []
    for book in books:
        sizes = (max(1, min(clusters, len(book) // 2)),)
        fit = fit_rqkmeans(book.detach().cpu().numpy(), sizes, balanced=True, seed=seed)
        result.append(torch.from_numpy(fit.codes[:, 0]).to(book.device))
    return result
