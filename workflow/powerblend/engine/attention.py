"""Attention over the ragged cache: one contract, called from inside any transformers model.

transformers looks attention up by name and passes unknown keyword arguments through to it. A model
loaded with ``attn_implementation="ragged"`` and called with ``ragged=Ragged(...)`` therefore writes
and reads our cache instead of its own. The contract is `attend`; its bodies are matrix products,
which run anywhere, and on a GPU flash-attn, or torch's own variable-length attention without it.
Without that argument the same model runs plain causal attention, as its authors wrote it.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn.attention.varlen import varlen_attn
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from powerblend.engine.cache import CacheIndex, RaggedCache

try:
    from flash_attn import flash_attn_with_kvcache
except ImportError:  # it is compiled on installation, and only GPUs have it (envs/gpu.yaml)
    flash_attn_with_kvcache = None

ATTENTION_NAME = "ragged"

KERNEL_DTYPES = (torch.bfloat16, torch.float16)
"""What the kernels of flash attention compute in, flash-attn's and torch's own."""

UNSUPPORTED_OPTIONS = ("sliding_window", "softcap", "s_aux")
"""Arguments by which an architecture asks for another attention."""


def has_kernel(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether there are kernels for decode steps: those of GPUs, which know 16 bits only."""
    return device.type == "cuda" and dtype in KERNEL_DTYPES


@dataclass(frozen=True, eq=False)
class Ragged:
    """Where the tokens of a forward pass stand: row i is slot ``slots.start + i``.

    ``positions`` are [rows, new]; ``length``, the largest position + 1, is given by the caller, who
    knows it without asking the device. What the layers need besides is computed by the first.
    """

    cache: RaggedCache
    slots: slice
    positions: Tensor
    length: int

    @cached_property
    def index(self) -> CacheIndex:
        """Where the cache has the positions."""
        return self.cache.index(self.positions)

    @cached_property
    def hidden(self) -> Tensor:
        """Keys that a query may not see: [rows, 1, 1, new, length - prefix] bool."""
        keys = torch.arange(self.cache.start, self.length, device=self.positions.device)
        return keys > self.positions[:, None, None, :, None]

    @cached_property
    def before(self) -> Tensor:
        """Tokens [rows] that a row has before this one, int32; for decode steps."""
        return self.positions[:, 0].int()

    @cached_property
    def bounds(self) -> tuple[Tensor, Tensor, Tensor]:
        """Where the rows' queries and keys begin, [rows + 1] each, and the keys they see, [rows].

        For decode steps, over all slots' positions one after the other; int32.
        """
        each = torch.arange(len(self.positions) + 1, dtype=torch.int32, device=self.before.device)
        return each, each * self.cache.capacity, self.before + 1


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
    head_dim]; returns [rows, new, heads, head_dim].

    Raises
    ------
    ValueError
        If the architecture asks for a sliding window, capped scores or attention sinks.
    """
    if ragged is None:
        options["is_causal"] = True
        output, _ = sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **options
        )
        return output, None
    layer, cache = int(module.layer_idx), ragged.cache  # type: ignore[arg-type]
    _check_supported(module, options, cache)
    by_kernel = cache.by_position and query.shape[2] == 1
    if by_kernel and flash_attn_with_kvcache is not None:
        return _flash(layer, query, key, value, scaling, ragged), None
    cache.write(layer, ragged.slots, ragged.index, (key, value))
    if by_kernel:
        return _varlen(layer, query, scaling, ragged), None
    keys, values = cache.read(layer, ragged.slots, ragged.length)
    # Grouped queries are a dimension of their own, so keys are never repeated in memory.
    grouped = query.unflatten(1, (keys.shape[1], -1)) * scaling
    output = attention(grouped, keys, values, ragged.hidden, cache.prefix(layer))
    return output.flatten(1, 2).transpose(1, 2), None


def _check_supported(module: torch.nn.Module, options: dict[str, Any], cache: RaggedCache) -> None:
    """Refuse an architecture that asks for more than softmax attention to everything before."""
    for name in UNSUPPORTED_OPTIONS:
        value = options.get(name)
        # A window that the longest row does not fill hides nothing.
        if value is not None and not (name == "sliding_window" and value >= cache.capacity):
            raise ValueError(
                f"{type(module).__name__} attends with {name}={value}, which a cache of "
                f"{cache.capacity} tokens a row does not: this model cannot be decoded here"
            )


def _flash(
    layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float, ragged: Ragged
) -> Tensor:
    """One decode step by flash-attn, which writes the new keys and values itself.

    Its length of a row is that before the step, which is the new token's position.
    """
    keys, values = ragged.cache.read(layer, ragged.slots, ragged.cache.capacity)
    output: Tensor = flash_attn_with_kvcache(
        query.transpose(1, 2),
        keys.transpose(1, 2),
        values.transpose(1, 2),
        k=key.transpose(1, 2),
        v=value.transpose(1, 2),
        cache_seqlens=ragged.before,
        softmax_scale=scaling,
        causal=True,
    )
    return output


def _varlen(layer: int, query: Tensor, scaling: float, ragged: Ragged) -> Tensor:
    """One decode step by torch's own variable-length attention, where flash-attn is missing."""
    cache = ragged.cache
    keys, values = cache.read(layer, ragged.slots, cache.capacity)
    queries_at, keys_at, seen = ragged.bounds
    output = varlen_attn(
        query[:, :, 0],
        # [rows, heads, capacity, head_dim] are views of [rows, capacity, heads, head_dim].
        keys.transpose(1, 2).flatten(0, 1),
        values.transpose(1, 2).flatten(0, 1),
        queries_at,
        keys_at,
        1,
        cache.capacity,
        scale=scaling,
        enable_gqa=True,
        seqused_k=seen,
    )
    return cast(Tensor, output)[:, None]


def attention(
    query: Tensor,
    keys: Tensor,
    values: Tensor,
    hidden: Tensor,
    prefix: tuple[Tensor, Tensor] | None,
) -> Tensor:
    """Softmax attention of ``query`` [rows, kv_heads, group, new, head_dim].

    All rows' queries meet the shared prefix in one matrix product per head, which reads it once
    instead of once a row; the softmax is over prefix and own keys together.
    """
    rows, heads, group, new, width = query.shape
    own = keys.shape[2]
    scores = (query.flatten(2, 3) @ keys.transpose(-1, -2)).unflatten(2, (group, new))
    scores.masked_fill_(hidden, -torch.inf)
    if prefix is None:
        return (scores.softmax(-1).flatten(2, 3) @ values).unflatten(2, (group, new))
    shared_keys, shared_values = prefix
    by_head = query.transpose(0, 1).reshape(heads, -1, width)
    shared = (by_head @ shared_keys.transpose(-1, -2)).view(heads, rows, group, new, -1)
    weights = torch.cat([shared.transpose(0, 1), scores], -1).softmax(-1)
    of_prefix, of_own = weights.split([shared.shape[-1], own], -1)
    output = (of_own.flatten(2, 3) @ values).unflatten(2, (group, new))
    by_head = of_prefix.transpose(0, 1).reshape(heads, -1, shared.shape[-1])
    return output + (by_head @ shared_values).view(heads, rows, group, new, width).transpose(0, 1)


AttentionInterface.register(ATTENTION_NAME, attend)
