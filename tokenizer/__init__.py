"""Turn item embeddings into semantic IDs. Knows no language model and no user, and never imports sidrec.

rqvae.py             RQVAE, RQKMeansPlus; letter.py: Letter; rqkmeans.py: RQKMeans, OPQ
estimator.py         the verbs they share: fit, encode, decode, latents, codebooks, save, load
settings.py          RQVAESettings: the options of an RQ-VAE
neural/              its networks, its quantizer and their training
kmeans.py            codebooks by residual k-means, plain or balanced, and OPQ (faiss)
vector_quantizer.py  VectorQuantizer: codebooks without networks
hybrid.py            item embeddings and collaborative vectors side by side
model.py             what a fitted tokenizer can do; model_file.py: open its file
collisions/          items that share a semantic ID, and IDs for all at least cost
semantic_ids.py      SemanticIDs: item ids <-> codes; Parquet, LC-Rec index, hash; names of levels and tokens
foreign.py           tables of codes that others made
controls.py          semantic IDs without semantics
health/              what a table of semantic IDs is worth, before any model is trained on it
html_table.py        tables for notebooks
arrays.py            embeddings that are a finite table, files that can be read
"""

# sidrec looks for this line in the file before it imports a package of so generic a name.
__sidrec__ = True
