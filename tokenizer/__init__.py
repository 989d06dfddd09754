"""Turn item embeddings into semantic IDs. Knows no language model and no user, and never imports sidrec.

rqvae.py             RQVAE, RQKMeansPlus; letter.py: Letter; rqkmeans.py: RQKMeans, OPQ
estimator.py         the verbs they share: fit, encode, decode, latents, codebooks, save, load
hybrid.py            item embeddings and collaborative vectors side by side
settings.py          RQVAESettings: the options of an RQ-VAE
autoencoder.py       encoder -> residual quantizer -> decoder; a pure module with save and load
networks.py          the encoder and the decoder; standardization.py: vectors as they see them
quantize.py          residual quantizer: nearest code, gradient past it, losses, k-means start, revival
ema.py               codebooks that follow moving averages
train.py             fit_rqvae: the training, in Lightning; alignment.py: LETTER's two losses
quiet_training.py    what small trainings in Lightning have in common
vector_quantizer.py  VectorQuantizer: codebooks without networks
kmeans.py            codebooks by residual k-means, plain or balanced, and OPQ (faiss)
model.py             what a fitted tokenizer can do; model_file.py: open its file
collisions.py        find items that share a semantic ID, and make the IDs unique at least cost
resolver.py          the working of that; placement.py: codes for new items, while those there keep theirs
sinkhorn.py          the papers' way to part them, for comparison
prefix_search.py     the prefixes of code vectors nearest to a latent, for items that must leave theirs
semantic_ids.py      SemanticIDs: item ids <-> codes; Parquet, LC-Rec index, hash; names of levels and tokens
arrays.py            embeddings that are a finite table, files that can be read
controls.py          semantic IDs without semantics
foreign.py           tables of codes that others made
health.py            what a table of semantic IDs is worth, before any model is trained on it
structure.py         its prefix tree; explained.py: the variance that codes keep
neighbours.py        whether items that are alike stand together
verdicts.py          good, look or bad, and what to do; figure.py: the same as a picture
"""

# sidrec looks for this line in the file before it imports a package of so generic a name.
__sidrec__ = True
