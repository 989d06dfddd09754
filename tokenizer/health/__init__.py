"""What a table of semantic IDs is worth, before any model is trained on it.

measures.py    health: all figures of a table
structure.py   of its prefix tree
explained.py   the variance that codes keep
neighbours.py  whether items that are alike stand together
verdicts.py    judge: good, look or bad, and what to do
figure.py      the same as a picture
"""
