"""A language model that is a table: next-token logits looked up by the answer so far.

Its cache holds tokens instead of keys and values, so whatever the loop fails to rewind, copy or
overwrite changes the context that is looked up.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from enumeration import Floats, String
from enumeration import Logits as Reference
from powerblend.blends import HiddenBlend
from powerblend.engine.batch import StepInputs
from powerblend.engine.distributions import Logits


class TokenCache:
    """Tokens [slots, capacity], rewound and copied as the real cache is."""

    def __init__(self, slots: int, capacity: int, prefix: Tensor | None) -> None:
        self.tokens = torch.zeros(slots, capacity, dtype=torch.long)
        if prefix is not None:
            self.tokens[:, : len(prefix)] = prefix

    def save(self, slot: int, start: int, stop: int) -> Tensor:
        return self.tokens[slot, start:stop].clone()

    def restore(self, slot: int, start: int, saved: Tensor) -> None:
        self.tokens[slot, start : start + len(saved)] = saved

    def copy(self, source: int, target: int, length: int) -> None:
        self.tokens[target, :length] = self.tokens[source, :length].clone()


class TableModel:
    """Random tables for answers of up to ``longest`` tokens, after prompts of one length.

    ``base`` and ``source`` are [contexts, vocabulary]: the logits of the model and of the one layer
    that a blend may name. A context is numbered by its tokens as digits, behind a leading 1.
    """

    num_layers = 1
    tokenizer = None
    device = torch.device("cpu")
    own_lengths = False
    block_size = None

    def __init__(
        self, seed: int, vocabulary: int, eos: int, longest: int, prompt_tokens: int
    ) -> None:
        random = np.random.default_rng(seed)
        contexts = 2 * vocabulary**longest
        self.eos_token_ids = frozenset([eos])
        self.base, self.source = random.normal(scale=1.2, size=(2, contexts, vocabulary))
        self.prompt_tokens, self.vocabulary = prompt_tokens, vocabulary

    def cache(self, slots: int, capacity: int, prefix: Tensor | None = None) -> TokenCache:
        return TokenCache(slots, capacity, prefix)

    def prefill(self, cache: TokenCache, slots: slice, start: Tensor, tokens: Tensor) -> None:
        rows = torch.arange(slots.start, slots.stop)[:, None]
        cache.tokens[rows, start[:, None] + torch.arange(tokens.shape[1])] = tokens

    def prepare(self, cache: TokenCache, inputs: StepInputs, answer_lengths: Any) -> None:
        pass

    def step(
        self, cache: TokenCache, inputs: StepInputs, blend: HiddenBlend | None = None
    ) -> Logits:
        tokens, positions, _, length, _ = inputs
        rows = inputs.rows
        cache.tokens[rows, positions] = tokens
        context = torch.ones_like(tokens)
        for position in range(self.prompt_tokens, length):
            longer = context * self.vocabulary + cache.tokens[rows, position]
            context = torch.where(position <= positions, longer, context)
        base = torch.from_numpy(self.base)[context]
        if blend is None:
            return Logits(base, base)
        source = torch.from_numpy(self.source)[context]
        return Logits(base, blend.mix(base, blend.hidden((source,), self)))

    def normalise(self, hidden: Tensor) -> Tensor:
        return hidden / 2

    def reference(self, blend: Mapping[str, Any] | None = None) -> Reference:
        """The same tables for the enumeration, read string by string."""
        beta = blend["beta"] if blend else 0.0
        scale = 0.5 if blend and blend.get("norm") == "final" else 1.0

        def row(table: Floats, context: String) -> Floats:
            index = 1
            for token in context:
                index = index * self.vocabulary + token
            return table[index]

        def logits(strings: Sequence[String]) -> tuple[Floats, Floats]:
            longest = max(map(len, strings))
            base = np.zeros((len(strings), longest, self.vocabulary))
            guided = base.copy()
            for i, string in enumerate(strings):
                for k in range(len(string)):
                    z, inner = row(self.base, string[:k]), row(self.source, string[:k])
                    base[i, k] = z
                    guided[i, k] = (1 - beta) * z + beta * scale * inner
            return base, guided

        return logits
