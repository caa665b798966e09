"""Attention over the ragged cache: one contract, called from inside any transformers model.

transformers looks attention up by name and passes unknown keyword arguments through to it. A model
loaded with ``attn_implementation="ragged"`` and called with ``ragged=Ragged(...)`` therefore writes
and reads our cache instead of its own. Without that argument the same model runs plain causal
attention, as its authors wrote it.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from powerblend.engine.cache import RaggedCache

NAME = "ragged"


class Ragged(NamedTuple):
    """Where the tokens of a forward pass stand: row i is slot ``slots.start + i``."""

    cache: RaggedCache
    slots: slice
    positions: Tensor  # [rows, new]
    length: int  # positions any row may attend to: the largest position + 1
    visible: Tensor  # [rows, 1, new, length] bool


def at_positions(cache: RaggedCache, slots: slice, positions: Tensor, length: int) -> Ragged:
    """The attention arguments for new tokens at ``positions`` [rows, new]: each sees up to itself.

    ``length`` is given by the caller, who knows it without asking the device.
    """
    keys = torch.arange(length, device=positions.device)
    return Ragged(cache, slots, positions, length, keys <= positions[:, None, :, None])


def attend(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float,
    ragged: Ragged | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Write this pass's keys and values, then attend to the cache.

    ``query`` is [rows, heads, new, head_dim], ``key`` and ``value`` [rows, kv_heads, new,
    head_dim]; returns [rows, new, heads, head_dim]. Grouped queries share their head's keys as
    extra query positions, so keys are never repeated in memory.
    """
    if ragged is None:
        options["is_causal"] = True
        output, _ = sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **options
        )
        return output, None
    layer = int(module.layer_idx)  # type: ignore[arg-type]
    ragged.cache.write(layer, ragged.slots, ragged.positions, (key, value))
    keys, values = ragged.cache.read(layer, ragged.slots, ragged.length)
    rows, heads, new, width = query.shape
    kv_heads = keys.shape[1]
    group = heads // kv_heads
    mask = ragged.visible
    if new > 1:
        mask = mask[:, :, None].expand(-1, -1, group, -1, -1).flatten(2, 3)
    output = torch.nn.functional.scaled_dot_product_attention(
        query.reshape(rows, kv_heads, group * new, width), keys, values, mask, scale=scaling
    )
    return output.reshape(rows, heads, new, width).transpose(1, 2), None


AttentionInterface.register(NAME, attend)
