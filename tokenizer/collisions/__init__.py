"""Items that share a semantic ID: found, and given IDs of their own.

unique.py         which items collide, and IDs for all at least cost
resolver.py       the working of that
prefix_search.py  the prefixes of code vectors nearest to a latent, for items that must leave theirs
placement.py      codes for new items, while those there keep theirs
sinkhorn.py       the papers' way to part them, for comparison
"""
