"""The engine: many Metropolis-Hastings chains over one causal language model at once.

``randomness`` and ``chain`` know no torch, ``laws`` knows no cache, ``model`` knows no chain, and
nothing here knows a chat template, a dataset or a file: it is token ids in, token ids out.
"""

REVISION = "2"
"""Part of every cell and every record's key: raise it when the same inputs give other tokens."""
