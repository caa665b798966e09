"""The decoder layers of a pass as one call, where they are compiled loops and nothing else.

As a step of a GPU is recorded (`cuda_graphs`), so is a step's pass through the layers on the CPU
(`compiled_calls`): once for a cache, and then run for any number of tokens up to
`MOST_TOKENS`. What a layer reads beside its weights and the cache lies where it lay when it was
recorded: a model whose weights or modules change takes note of it by `Model.refresh`, or with the
next cache. A backbone whose layers call anything else goes on layer by layer, and so does one with
hooks, which want to see every layer.
"""

import threading
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

MOST_TOKENS = 256
"""Of a pass that is recorded: in more, what Python does between two loops is nothing."""

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
        known = type(backbone) in BACKBONES and "forward" not in vars(backbone)
        self._can_be = known and all(map(_is_fused, backbone.layers))
        modules = list(backbone.modules())
        self._hooks = [h for m in modules for h in (m._forward_hooks, m._forward_pre_hooks)]
        self._memory = Memory()
        self._passes: WeakKeyDictionary[RaggedCache, dict[Any, RecordedPass]] = WeakKeyDictionary()
        # All recordings use the same memory.
        self._lock = threading.Lock()

    def __reduce__(self) -> Any:
        return RecordedLayers, (self._backbone,)  # recordings are made anew

    def forward(
        self, cache: RaggedCache, wanted: Pass, windows: Sequence[int | None]
    ) -> States | None:
        """What `Model.forward` returns of a pass of one token a line; None if it has to.

        ``windows`` are those of the layers (`attention.Extras`).
        """
        tokens, new = wanted.tokens.shape
        if not self._can_be or cache.by_position or new != 1 or not 0 < tokens <= MOST_TOKENS:
            return None
        weight = self._backbone.norm.weight
        if not serves(weight) or torch.is_grad_enabled() or any(self._hooks):
            return None
        hidden = self._backbone.embed_tokens(wanted.tokens)
        cos, sin = self._backbone.rotary_emb(hidden, wanted.positions)
        slots = wanted.slots.start + torch.arange(tokens, device=weight.device)
        if wanted.guesses is not None:
            slots = wanted.slots.start + wanted.guesses.row
        given = Inputs(hidden, cos, sin, slots, wanted.positions)
        with self._lock:
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
        key = tuple(layers_read), tuple(windows)
        if key not in passes:
            with torch.inference_mode(False):  # they are written in and out of it
                inputs = Inputs._make(p.new_empty(MOST_TOKENS, *p.shape[1:]) for p in given)
            # Over all that the cache has room for; each token is in a row as guesses are.
            nothing = torch.zeros_like(inputs.slots)
            each = Guesses(inputs.slots, nothing, nothing, nothing, 1)
            rows, longest = slice(0, cache.slots), cache.capacity
            ragged = Ragged(cache, rows, inputs.positions, longest, windows, each)
            passes[key] = self._recorded(ragged, inputs, layers_read)
        return passes[key]

    def _recorded(self, ragged: Ragged, inputs: Inputs, layers_read: Sequence[int]) -> RecordedPass:
        """Record the layers."""
        hidden, angles, layers = inputs.hidden, (inputs.cos, inputs.sin), self._backbone.layers
        read = {number % len(layers): hidden for number in layers_read}  # -1 is the last
        with attending_to(ragged), recorded(MOST_TOKENS, self._memory) as recorder:
            for number, layer in enumerate(layers):
                hidden = layer(hidden, position_embeddings=angles)
                if number in read:
                    read[number] = hidden
            final = self._backbone.norm(hidden)
        outputs = [read[number % len(layers)] for number in layers_read]
        return RecordedPass(inputs, Recording(recorder, caller()), final, outputs)


def _is_fused(layer: Any) -> bool:
    """Whether a decoder layer and its parts are ours."""
    if type(layer) is not FusedLayer:
        return False
    return (type(layer.self_attn), type(layer.mlp)) == (FusedAttention, FusedMLP)
