"""The decoder layers of a pass as one call, where they are compiled loops and nothing else.

As a step of a GPU is recorded (`cuda_graphs`), so is a step's pass through the layers on the CPU
(`compiled_calls`): once for a cache and `FEWEST_RECORDED` tokens or more, and then run for any
number up to that. What a layer reads beside its weights and the cache lies where it lay when it was
recorded. A backbone whose layers call anything else goes on layer by layer.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from transformers.models.llama.modeling_llama import LlamaModel
from transformers.models.qwen2.modeling_qwen2 import Qwen2Model
from transformers.models.qwen3.modeling_qwen3 import Qwen3Model

from powerblend.engine.attention import Ragged, attending_to
from powerblend.engine.batch import Guesses
from powerblend.engine.cache import RaggedCache
from powerblend.engine.compiled_calls import Memory, NotRecorded, Recording, recorded
from powerblend.engine.compiler import caller, serves
from powerblend.engine.fused_layers import FusedAttention, FusedMLP
from powerblend.engine.prefix_tree import Pass, States
from powerblend.engine.residual_norms import FusedLayer

FEWEST_RECORDED = 128
"""Tokens, more than most passes have: a recording takes as long as a step of a few rows."""

BACKBONES = (LlamaModel, Qwen2Model, Qwen3Model)
"""Whose passes are embeddings, angles, layers and a norm."""


class Inputs(NamedTuple):
    """What the layers read of each token, where it was when they were recorded.

    ``hidden`` [tokens, 1, hidden], cosines and sines [tokens, 1, width], slots [tokens] and
    positions [tokens, 1].
    """

    hidden: Tensor
    cos: Tensor
    sin: Tensor
    slots: Tensor
    positions: Tensor


class RecordedPass(NamedTuple):
    """Layers that can be run again, and where they leave the states that are read."""

    inputs: Inputs
    recording: Recording
    final: Tensor
    outputs: list[Tensor]


class RecordedLayers:
    """The layers of a backbone, recorded when they are first run."""

    def __init__(self, backbone: Any) -> None:
        self._backbone = backbone
        known = type(backbone) in BACKBONES
        self._can_be = known and all(map(_is_fused, self._backbone.layers))
        self._memory = Memory()
        self._passes: WeakKeyDictionary[RaggedCache, dict[Any, RecordedPass]] = WeakKeyDictionary()

    def forward(
        self, cache: RaggedCache, wanted: Pass, windows: Sequence[int | None]
    ) -> States | None:
        """What `Model.forward` returns of a pass of one token a line; None if it has to.

        ``windows`` are those of the layers (`attention.Extras`).
        """
        tokens = len(wanted.tokens)
        if not self._can_be or cache.by_position or wanted.tokens.shape[1] > 1:
            return None
        if not serves(self._backbone.norm.weight) or torch.is_grad_enabled():
            return None
        hidden = self._backbone.embed_tokens(wanted.tokens)
        cos, sin = self._backbone.rotary_emb(hidden, wanted.positions)
        slots = torch.arange(tokens) if wanted.guesses is None else wanted.guesses.row
        given = Inputs(hidden, cos, sin, slots + wanted.slots.start, wanted.positions)
        try:
            found = self._pass(cache, given, wanted.layers_read, windows)
        except NotRecorded:
            self._can_be = False
            return None
        for place, numbers in zip(found.inputs, given, strict=True):
            place[:tokens] = numbers
        found.recording.run(tokens)
        # The next pass writes where these are.
        final, *outputs = (states[:tokens].clone() for states in (found.final, *found.outputs))
        return final, tuple(outputs)

    def _pass(
        self,
        cache: RaggedCache,
        given: Inputs,
        layers_read: Sequence[int],
        windows: Sequence[int | None],
    ) -> RecordedPass:
        """The recording of a pass like this one."""
        passes = self._passes.setdefault(cache, {})
        tokens = max(1 << (len(given.hidden) - 1).bit_length(), FEWEST_RECORDED)
        key = tokens, tuple(layers_read), tuple(windows)
        if key not in passes:
            inputs = Inputs._make(part.new_empty(tokens, *part.shape[1:]) for part in given)
            # Over all that the cache has room for; each token is in a row as guesses are.
            nothing = torch.zeros_like(inputs.slots)
            each = Guesses(inputs.slots, nothing, nothing, nothing, 1)
            rows, longest = slice(0, cache.slots), cache.capacity
            ragged = Ragged(cache, rows, inputs.positions, longest, windows, each)
            passes[key] = self._recorded(ragged, inputs, layers_read)
        return passes[key]

    def _recorded(self, ragged: Ragged, inputs: Inputs, layers_read: Sequence[int]) -> RecordedPass:
        """Record the layers."""
        hidden, angles, read = inputs.hidden, (inputs.cos, inputs.sin), {}
        with attending_to(ragged), recorded(len(hidden), self._memory) as recorder:
            for number, layer in enumerate(self._backbone.layers):
                hidden = layer(hidden, position_embeddings=angles)
                if number in layers_read:
                    read[number] = hidden
            final = self._backbone.norm(hidden)
        outputs = [read[layer] for layer in layers_read]
        return RecordedPass(inputs, Recording(recorder, caller()), final, outputs)


def _is_fused(layer: Any) -> bool:
    """Whether a decoder layer and its parts are ours."""
    if type(layer) is not FusedLayer:
        return False
    return (type(layer.self_attn), type(layer.mlp)) == (FusedAttention, FusedMLP)
