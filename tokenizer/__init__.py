"""Turn item embeddings into semantic IDs. Knows no language model and no user, and never imports sidrec.

quantize.py       residual quantizer: nearest code, straight-through, losses, k-means start, revival
rqvae.py          RQVAE: encoder -> residual quantizer -> decoder; a pure module with save and load
train.py          fit_rqvae: the training, in Lightning
collisions.py     find items that share a semantic ID, and make the IDs unique at least cost
prefix_search.py  the prefixes of code vectors nearest to a latent, for items that must leave theirs
semantic_ids.py   SemanticIDs: item ids <-> codes; Parquet, LC-Rec index, hash; names of levels and tokens
arrays.py         embeddings that are a finite table, files that can be read
vector_quantizer.py  VectorQuantizer: codebooks without networks
kmeans.py         codebooks by residual k-means, plain or balanced, and OPQ (faiss)
controls.py       semantic IDs without semantics
foreign.py        tables of codes that others made
health.py         what a table of semantic IDs is worth, before any model is trained on it
structure.py      its prefix tree, and whether items that are alike stand together in it
verdicts.py       good, look or bad, and what to do
cpu_training.py   what small trainings in Lightning have in common
"""

# sidrec looks for this line in the file before it imports a package of so generic a name.
__sidrec__ = True
