"""What the config section `tokenizer` may hold."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from sidrec.sections import Section
from tokenizer.settings import CodebookUpdate, Gradient, ReconstructionLoss, Schedule, Standardizing

Quantizer = Literal["rqvae", "rqkmeans", "balanced_rqkmeans", "rqkmeans_plus", "opq"]
"""What makes codes of vectors alone."""

Method = Literal[Quantizer, "letter", "hybrid", "import", "shuffled", "random"]
COLLABORATIVE = ("letter", "hybrid")
SASREC = "sasrec"


class TokenizerConfig(Section):
    """How item vectors become semantic IDs."""

    method: Method = Field(
        "rqvae",
        description="rqvae: residual-quantized VAE; rqkmeans: residual k-means; balanced_rqkmeans: the same "
        "with equally many items on every code of a level; rqkmeans_plus: residual k-means, improved by "
        "training (GPR); opq: optimized product quantization, without order of codes; letter: rqvae that "
        "also knows who had an item (LETTER); hybrid: tokenizer.quantizer over text and collaborative "
        "vectors side by side; import: the codes of tokenizer.index; two controls: shuffled: the codes of "
        "rqvae, dealt to other items; random: codes drawn without looking at the items.",
    )
    collisions: Literal["reassign", "extra_level", "sinkhorn", "keep"] = Field(
        "reassign",
        description="Items that share all codes: reassign: move as few last codes as possible, at least "
        "cost; extra_level: one more level that numbers them (TIGER); sinkhorn: spread each group over the "
        "last codes, as LC-Rec does, which leaves some; keep: leave them.",
    )
    index: Path | None = Field(
        None,
        description="With method import: codes that others made: index.json of LC-Rec, LETTER or MiniOneRec, "
        "or CSV or Parquet with item_id and a column per level.",
    )
    quantizer: Quantizer = Field(
        "rqkmeans", description="With method hybrid: what makes codes of the joined vectors."
    )
    collaborative: str = Field(
        SASREC,
        description="With methods letter and hybrid: the vectors that say who had an item. sasrec: those of "
        "the SASRec baseline of the same split, which is trained for it; or a file, as for embedding.path.",
    )
    collaborative_weight: float = Field(
        0.5,
        ge=0,
        le=1,
        description="With method hybrid: share of the squared distance between two items that is "
        "collaborative, on average.",
    )
    alignment_weight: float = Field(
        0.02, ge=0, description="With method letter: pull of codes to collaborative vectors (LETTER: 0.02)."
    )
    diversity_weight: float = Field(
        1e-4, ge=0, description="With method letter: push between code vectors (LETTER: 1e-4)."
    )
    iterations: int = Field(25, ge=1, description="Of the k-means methods, per level.")
    source: Path | None = Field(
        None,
        description="With method shuffled: the run whose semantic IDs are dealt anew. Absent: those that "
        "rqvae gives here.",
    )
    seed: int | None = Field(
        None,
        ge=0,
        description="Of the tokenizer alone; absent: the run's. Set, runs of several seeds share their IDs.",
    )
    codebook_sizes: tuple[int, ...] = Field(
        (256, 256, 256), description="K per level, first level first (TIGER: 256)."
    )
    latent_dim: int = Field(32, ge=1, description="Length of a code vector of rqvae and letter (TIGER: 32).")
    hidden_dims: tuple[int, ...] = Field((256, 128), description="Widths of the encoder's hidden layers.")
    batch_norm: bool = Field(False, description="Normalize the hidden layers over the batch.")
    standardization: Standardizing = Field(
        "scale",
        description="Of the vectors: scale: mean 0, divided by one number; dimension: each by its own "
        "spread; whiten: all directions alike; none.",
    )
    gradient: Gradient = Field(
        "straight_through",
        description="How the decoder's gradient passes the codes: straight_through: as it is; rotation: "
        "turned as the latent is turned into its code vectors (arXiv:2410.06424).",
    )
    codebook_update: CodebookUpdate = Field(
        "loss", description="What moves code vectors: loss: the codebook loss; ema: moving averages."
    )
    ema_decay: float = Field(0.99, ge=0, lt=1, description="Of these averages, per step.")
    reconstruction_loss: ReconstructionLoss = Field(
        "mse", description="Between vectors and reconstructions. cosine leaves their length free."
    )
    epochs: int = Field(200, ge=1, description="Passes over the item vectors, at most.")
    max_steps: int = Field(
        10_000, ge=1, description="No pass begins after so many steps: many items need few passes."
    )
    batch_size: int = Field(1024, ge=1, description="Items per step.")
    learning_rate: float = Field(1e-3, gt=0, description="Of AdamW.")
    schedule: Schedule = Field(
        "constant", description="Of the learning rate: constant; cosine: falls to 0 in half a wave."
    )
    weight_decay: float = Field(1e-4, ge=0, description="Of AdamW.")
    commitment_weight: float = Field(
        0.25, ge=0, description="Pull of latents towards their code (VQ-VAE: 0.25)."
    )
    dead_code_epochs: int = Field(5, ge=1, description="Epochs unused after which a code is revived.")
    device: Literal["cpu", "cuda"] = Field("cpu", description="Where networks are trained.")

    @model_validator(mode="after")
    def _fits_together(self) -> TokenizerConfig:
        if not self.codebook_sizes or min(self.codebook_sizes) < 1:
            raise ValueError("codebook_sizes needs at least one level of at least one code")
        if self.source is not None and self.method != "shuffled":
            raise ValueError(
                f"tokenizer.source is read by tokenizer.method=shuffled only, not by {self.method}"
            )
        if (self.index is None) == (self.method == "import"):
            raise ValueError("tokenizer.index and tokenizer.method=import go together")
        if self.collaborative != SASREC and self.method not in COLLABORATIVE:
            raise ValueError(
                f"tokenizer.collaborative is read by tokenizer.method={' and '.join(COLLABORATIVE)} only, "
                f"not by {self.method}"
            )
        return self
