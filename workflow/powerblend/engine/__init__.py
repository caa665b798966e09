"""The engine: many Metropolis-Hastings chains over one causal language model at once.

Token ids in, token ids out: nothing here reads a file, applies a chat template, or knows a sampler,
a draft or a dataset by name. ``randomness`` and ``chain`` import no torch, ``distributions`` knows
no cache and ``model`` no chain.
"""

REVISION = "2"
"""Part of every cell and every record's key: raise it when the same inputs give other tokens."""
