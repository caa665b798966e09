"""A target and its draft as one language model for the loop.

    answer      | x0  x1 ....... x15 | x16 x17 ....... x31 | x32 ...
    predictions |  -  of x1 . of x15 |  -  of x17 . of x31 |

The grid of blocks begins at the first answer token and every block is whole, masks to its end, so
that what the draft predicts of a token is a function of the tokens before its block and of the
block's first: the same whether the chain reached it by extending or from any cut. A block is opened
before its first token is fed: all rows that open one in a step do so in one batch, and what the
draft predicts for the block's other positions is kept beside their keys, to be rewound and copied
with them.
"""

import copy
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel

from powerblend.blends import Blend
from powerblend.draft.dflash import Context, Draft, TargetSizes
from powerblend.engine.batch import StepInputs
from powerblend.engine.cache import CacheIndex, RaggedCache
from powerblend.engine.distributions import Logits
from powerblend.engine.fused_layers import fused
from powerblend.engine.model import Model
from powerblend.engine.tiled_linear import tiled
from powerblend.engine.transfers import upload


class DraftedModel(Model):
    """A model with a draft that was made for it, in the model's precision and place.

    Attributes
    ----------
    draft
        A copy of the draft given, which is left as it was.
    """

    def __init__(
        self,
        hf: PreTrainedModel,
        tokenizer: Any,
        eos_token_ids: Sequence[int],
        draft: Draft,
        *,
        owned: bool = False,
    ) -> None:
        """Raise ValueError if the draft was made for another model."""
        super().__init__(hf, tokenizer, eos_token_ids, owned=owned)
        sizes = TargetSizes(self.name, self.num_layers, self.hidden_size, self.vocabulary)
        draft.architecture.check_fit(draft.source, sizes)
        own = copy.deepcopy(draft).placed(self.device, self.dtype)
        self.draft = tiled(fused(own.requires_grad_(False).eval()))


def draft_of(model: Model) -> Draft | None:
    """The model's draft, if it has one."""
    return model.draft if isinstance(model, DraftedModel) else None


class Saved(NamedTuple):
    """A slot's part of a `GuidedCache`."""

    target: Tensor
    context: Tensor
    predicted_states: Tensor


class GuidedCache:
    """The target's keys and values, the draft's of its context, and the draft's predictions.

    These are ``predicted_states`` [slots, capacity + block, hidden], each at its token's position.
    """

    def __init__(
        self, target: RaggedCache, context: RaggedCache, predicted_states: Tensor, block_size: int
    ) -> None:
        self.target, self.context, self.predicted_states = target, context, predicted_states
        self._block_size = block_size

    def save(self, slot: int, start: int, stop: int) -> Saved:
        """A copy of positions ``start`` to ``stop`` - 1 and of the blocks that they open."""
        predicted = self.predicted_states[slot, start : stop + self._block_size].clone()
        return Saved(
            self.target.save(slot, start, stop), self.context.save(slot, start, stop), predicted
        )

    def restore(self, slot: int, start: int, saved: Saved) -> None:
        """Put back what `save` returned, here or in another slot."""
        self.target.restore(slot, start, saved.target)
        self.context.restore(slot, start, saved.context)
        predicted = saved.predicted_states
        self.predicted_states[slot, start : start + len(predicted)] = predicted

    def copy(self, source: int, target: int, length: int) -> None:
        """Copy one slot's positions up to ``length`` - 1, and the blocks they open."""
        self.target.copy(source, target, length)
        self.context.copy(source, target, length)
        predicted = slice(0, length + self._block_size)
        self.predicted_states[target, predicted] = self.predicted_states[source, predicted]


class Guided:
    """A target whose blend comes from a draft; an `engine.scheduler.LanguageModel`."""

    def __init__(self, model: DraftedModel) -> None:
        draft = model.draft
        self.eos_token_ids, self.tokenizer = model.eos_token_ids, model.tokenizer
        self.device, self.own_lengths = model.device, model.own_lengths
        self._model, self._draft = model, draft
        self.block_size = draft.architecture.block_size
        self._features = draft.architecture.feature_layers
        self._mask = model.embed(torch.tensor(draft.architecture.mask_token, device=model.device))

    def cache(self, slots: int, capacity: int, prefix: Saved | None = None) -> GuidedCache:
        """Empty caches for ``slots`` rows of up to ``capacity`` tokens."""
        target = self._model.cache(slots, capacity, prefix.target if prefix else None)
        config, like = self._draft.architecture.qwen3, self._mask
        heads = config.num_key_value_heads or config.num_attention_heads
        shape = (config.num_hidden_layers, slots, heads, capacity, config.head_dim)
        before = prefix.context if prefix else None
        context = RaggedCache(*shape, like.dtype, like.device, before, target.by_position)
        predicted = like.new_zeros(slots, capacity + self.block_size, config.hidden_size)
        return GuidedCache(target, context, predicted, self.block_size)

    def row_bytes(self, capacity: int) -> int:
        """Memory that a row of ``capacity`` tokens takes."""
        context, predicted = self.cache(1, 1).save(0, 0, 1)[1:]
        own = (context.numel() + predicted[:1].numel()) * predicted.itemsize
        return self._model.row_bytes(capacity) + own * (capacity + self.block_size)

    @torch.inference_mode()
    def prefill(self, cache: GuidedCache, slots: slice, start: Tensor, tokens: Tensor) -> None:
        """Put tokens [rows, new] into the caches at positions ``start`` [rows] and on."""
        positions = start[:, None] + torch.arange(tokens.shape[1])
        length = int(positions.max()) + 1
        on_device = upload(positions.numpy(), self.device)
        _, features = self._model.forward(
            cache.target, slots, tokens, on_device, length, self._features
        )
        self._keep(cache, slots, cache.context.index(on_device), features, on_device)

    @torch.inference_mode()
    def prepare(
        self, cache: GuidedCache, inputs: StepInputs, answer_lengths: NDArray[np.int64]
    ) -> None:
        """Let the draft predict the blocks whose first token is about to be fed.

        It is given what was fed before the block and the block's first token.
        """
        opening = np.flatnonzero(answer_lengths % self.block_size == 1)
        if len(opening):
            self._open_blocks(cache, inputs, upload(opening, self.device))

    @torch.inference_mode()
    def drafted(
        self, cache: GuidedCache, rows: Sequence[int], firsts: Sequence[int]
    ) -> list[list[int]]:
        """The draft's likeliest tokens of blocks that are open, all but the first of each."""
        places = torch.tensor(firsts)[:, None] + torch.arange(1, self.block_size)
        states = cache.predicted_states[torch.tensor(rows)[:, None], places]
        likeliest = self._model.logits(states).argmax(-1)
        tokens: list[list[int]] = likeliest.tolist()
        return tokens

    @torch.inference_mode()
    def step(self, cache: GuidedCache, inputs: StepInputs, blend: Blend | None) -> Logits:
        """Feed tokens to each of the first rows, return the logits of what follows each."""
        final, features = self._model.feed(cache.target, inputs, self._features)
        final, positions = final[:, 0], inputs.positions
        index = cache.context.index(positions[:, None], inputs.rows)
        self._keep(cache, slice(0, inputs.num_rows), index, features, positions[:, None])
        predicted = cache.predicted_states[inputs.rows, positions + 1]
        # The draft is given a block's first token and predicts nothing of it.
        first = (inputs.answer_lengths % self.block_size == 0)[:, None]
        return self._model.guided(final, torch.where(first, final, predicted), blend)

    def _keep(
        self,
        cache: GuidedCache,
        slots: slice,
        index: CacheIndex,
        features: tuple[Tensor, ...],
        positions: Tensor,
    ) -> None:
        """Let features [rows, new, hidden] give the draft its keys at the same positions."""
        known = self._draft.context(torch.cat(features, -1), positions)
        for layer, kv in enumerate(known):
            cache.context.write(layer, slots, index, (kv[0], kv[1]))

    def _open_blocks(self, cache: GuidedCache, inputs: StepInputs, rows: Tensor) -> None:
        """Let the draft predict the blocks that begin with what is fed to ``rows``."""
        first = inputs.positions[rows]
        tokens = self._model.embed(inputs.tokens[rows])
        # One layer's at a time: to read single rows is to copy them.
        contexts = (
            Context(*cache.context.read(layer, rows, inputs.length), cache.context.prefix(layer))
            for layer in range(len(self._draft.layers))
        )
        own = range(cache.context.start, inputs.length)
        predicted = self._draft.predict(tokens, self._mask, first, contexts, own)
        positions = first[:, None] + torch.arange(self.block_size, device=self.device)
        cache.predicted_states[rows[:, None], positions] = predicted
