"""Attention over the ragged cache: one contract, called from inside any transformers model.

transformers looks attention up by name. A model loaded with ``attn_implementation="ragged"`` and
called inside of `attending_to` therefore writes and reads our cache instead of its own. The
contract is `attend`; its bodies are matrix products, which run anywhere, and on a GPU flash-attn,
or torch's own variable-length attention without it. Without a cache to attend to the same model
attends to its own input.

Whether a layer sees a window of the last tokens only, `survey` finds out before.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.nn.attention.varlen import AuxRequest, varlen_attn
from torch.nn.functional import pad, scaled_dot_product_attention
from transformers import AttentionInterface

from powerblend.engine import gpu_rows
from powerblend.engine.batch import Guesses
from powerblend.engine.cache import CacheIndex, RaggedCache
from powerblend.engine.compiled_rows import (
    Angles,
    HeadNorms,
    Where,
    attended,
    attends,
    placed,
    places,
)

try:
    from flash_attn import flash_attn_with_kvcache
except ImportError:  # it is compiled on installation, and only GPUs have it (envs/gpu.yaml)
    flash_attn_with_kvcache = None

ATTENTION_NAME = "ragged"

KERNEL_DTYPES = (torch.bfloat16, torch.float16)
"""What the kernels of flash attention compute in, flash-attn's and torch's own."""


def has_kernel(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether there are kernels for decode steps: those of GPUs, which know 16 bits only."""
    return device.type == "cuda" and dtype in KERNEL_DTYPES


class Extras(NamedTuple):
    """What an architecture asks of attention beyond scores, softmax and values.

    Attributes
    ----------
    window
        A query at position i sees the keys at i - window + 1 to i only (Beltagy et al. 2020,
        "Longformer", section 3.1).
    softcap
        Scores s become c tanh(s / c) (Gemma 2, arXiv 2408.00118, section 2).
    sinks
        [heads] a score by which every softmax is shared with nothing (gpt-oss, arXiv 2508.10925).
    """

    window: int | None = None
    softcap: float | None = None
    sinks: Tensor | None = None


PLAIN = Extras()
"""Softmax attention to everything before."""


@dataclass(frozen=True, eq=False)
class Ragged:
    """Where the tokens of a forward pass stand: row i is slot ``slots.start + i``.

    ``positions`` are [rows, new]; ``length``, the largest position + 1, is given by the caller, who
    knows it without asking the device. ``windows`` are those of the layers. What the layers need
    besides is computed by the first.

    With ``guesses`` the pass is [fed, 1] tokens, of which a row has as many as it is fed: what goes
    by tokens is computed of these alone, and only attention sees them row by row, filled up.
    """

    cache: RaggedCache
    slots: slice
    positions: Tensor
    length: int
    windows: Sequence[int | None]
    guesses: Guesses | None = None
    _hidden: dict[int | None, tuple[Tensor, Tensor | None]] = field(default_factory=dict)

    @cached_property
    def index(self) -> CacheIndex:
        """Where the cache has the positions."""
        return self.cache.index(self.positions, self.guesses and self.guesses.row)

    @cached_property
    def where(self) -> Where:
        """Which slot and position each of the tokens fed has, where a row is fed one at a time."""
        rows = self.index[0].flatten().contiguous()
        return Where(rows, self.positions.flatten().contiguous(), self.cache.start)

    @cached_property
    def by_row(self) -> Tensor:
        """The positions of each row's queries, [rows, width]."""
        if self.guesses is None:
            return self.positions
        widths = torch.arange(self.guesses.width, device=self.positions.device)
        return self.positions[self.guesses.first] + widths

    def gathered(self, query: Tensor) -> Tensor:
        """Queries [fed, heads, group, 1, width] as [rows, heads, group, width of rows, width]."""
        if self.guesses is None:
            return query
        rows, width = self.by_row.shape
        filled = query.new_zeros(rows, width, *query.shape[1:3], query.shape[4])
        filled[self.guesses.row, self.guesses.offset] = query[:, :, :, 0]
        return filled.movedim(1, 3)

    def scattered(self, output: Tensor) -> Tensor:
        """The inverse of `gathered`."""
        if self.guesses is None:
            return output
        return output.movedim(3, 1)[self.guesses.row, self.guesses.offset][:, :, :, None]

    def hidden(self, window: int | None) -> tuple[Tensor, Tensor | None]:
        """Keys that a query may not see, [rows, 1, 1, new, keys] bool: own ones, and the prefix's.

        None where it sees all of the prefix.
        """
        if window not in self._hidden:
            queries, start = self.by_row[:, None, None, :, None], self.cache.start
            keys = torch.arange(self.length, device=queries.device)
            own, before = keys[start:] > queries, None
            if window is not None:
                own |= keys[start:] <= queries - window
                before = keys[:start] <= queries - window
            self._hidden[window] = own, before
        return self._hidden[window]

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


_ragged: ContextVar[Ragged | None] = ContextVar("ragged", default=None)
"""The cache that attention attends to; not an argument, for many layers pass none through."""


@contextmanager
def attending_to(ragged: Ragged) -> Iterator[None]:
    """Within, `attend` writes and reads a cache."""
    before = _ragged.set(ragged)
    try:
        yield
    finally:
        _ragged.reset(before)


def attend(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Write this pass's keys and values, then attend to the cache.

    ``query`` is [rows, heads, new, key_width], ``key`` [rows, kv_heads, new, key_width] and
    ``value`` [rows, kv_heads, new, value_width]; returns [rows, new, heads, value_width].
    ``softcap`` and ``s_aux`` are transformers' names of what `Extras` holds.
    """
    ragged, layer = _ragged.get(), int(cast(int, module.layer_idx))
    if ragged is None:
        return _without_cache(query, key, value, scaling, Extras(None, softcap, s_aux)), None
    cache, extras = ragged.cache, Extras(ragged.windows[layer], softcap, s_aux)
    if _one_each(query, ragged) and flash_attn_with_kvcache is not None:
        return _flash(layer, query, (key, value), scaling, extras, ragged), None
    cache.write(layer, ragged.slots, ragged.index, (key, value))
    shape = key.shape[1], key.shape[-1], value.shape[-1]
    return _attend_to_written(layer, query, shape, scaling, extras, ragged), None


def _one_each(query: Tensor, ragged: Ragged) -> bool:
    """Whether kernels may serve: of one query [rows, heads, 1, width] of each row."""
    return ragged.cache.by_position and query.shape[2] == 1 and ragged.guesses is None


def _attend_to_written(
    layer: int,
    query: Tensor,
    shape: tuple[int, int, int],
    scaling: float,
    extras: Extras,
    ragged: Ragged,
) -> Tensor:
    """What `attend` returns, of this pass's keys and values that the cache has already.

    ``shape`` are this layer's heads of keys, and the widths of its keys and values.
    """
    cache = ragged.cache
    if _one_each(query, ragged):
        if flash_attn_with_kvcache is not None:
            return _flash(layer, query, None, scaling, extras, ragged)
        if extras.softcap is None:
            return _varlen(layer, query, shape[2], scaling, extras, ragged)
    keys, values = cache.read(layer, ragged.slots, ragged.length)
    plain = (extras.softcap, extras.sinks) == (None, None)
    if query.shape[2] == 1 and plain and attends(query, keys, values):
        prefix, window = cache.prefix(layer), extras.window
        output = attended(query[:, :, 0], (keys, values), prefix, ragged.where, scaling, window)
        return output[:, None]
    # Grouped queries are a dimension of their own, so keys are never repeated in memory.
    grouped = query.unflatten(1, (shape[0], -1)) * scaling
    own = _as_written((keys, values), *shape)
    prefix = cache.prefix(layer)
    before = None if prefix is None else _as_written(prefix, *shape)
    query = ragged.gathered(grouped)
    output = ragged.scattered(attention(query, *own, ragged.hidden(extras.window), before, extras))
    return output.flatten(1, 2).transpose(1, 2).contiguous()


def attend_in_place(
    module: Any, by_head: Tensor, angles: tuple[Tensor, Tensor], norms: HeadNorms | None
) -> Tensor | None:
    """Of heads as one product made them, what `attend` says of them rotated, if loops serve.

    ``by_head`` is [rows, 1, heads + 2 kv_heads, width], queries, keys and values; the angles'
    cosines and sines are [rows, 1, width]. Returns [rows, 1, heads, width], or None where there is
    no cache to attend to, or more than one token of a row, or anything that torch is to do. On a
    GPU a kernel writes keys and values, and whatever serves there attends to them.
    """
    ragged, layer = _ragged.get(), module.layer_idx
    if ragged is None or by_head.shape[1] != 1:
        return None
    own, heads = ragged.cache.read(layer, ragged.slots, ragged.length), by_head[:, 0]
    rotations, window = Angles(*angles), ragged.windows[layer]
    if own[0].shape[1] != module.kv_heads:
        return None
    if gpu_rows.places(heads, rotations, own, norms):
        query = gpu_rows.placed(heads, rotations, own, ragged.where, norms)[:, :, None]
        shape = module.kv_heads, query.shape[-1], query.shape[-1]
        return _attend_to_written(layer, query, shape, module.scaling, Extras(window), ragged)
    if ragged.cache.by_position or not places(heads, rotations, own, norms):
        return None
    query = placed(heads, rotations, own, ragged.where, norms)
    prefix = ragged.cache.prefix(layer)
    return attended(query, own, prefix, ragged.where, module.scaling, window)[:, None]


def _without_cache(
    query: Tensor, key: Tensor, value: Tensor, scaling: float, extras: Extras
) -> Tensor:
    """Causal attention to the input itself, as outside of a cache; it knows no windows."""
    new = query.shape[2]
    if extras == PLAIN:
        output = scaled_dot_product_attention(
            query, key, value, is_causal=True, scale=scaling, enable_gqa=True
        )
        return output.transpose(1, 2)
    hidden = torch.ones(new, new, dtype=torch.bool, device=query.device).triu(1)
    grouped = query.unflatten(1, (key.shape[1], -1)) * scaling
    return (
        attention(grouped, key, value, (hidden, None), None, extras).flatten(1, 2).transpose(1, 2)
    )


def _as_written(
    kv: tuple[Tensor, Tensor], heads: int, key_width: int, value_width: int
) -> tuple[Tensor, Tensor]:
    """Keys and values [..., heads, positions, width] without what fills them up to the cache's."""
    keys, values = kv
    if (keys.shape[-3], keys.shape[-1], values.shape[-1]) == (heads, key_width, value_width):
        return kv
    keys, values = (both.narrow(-3, 0, heads) for both in kv)
    return keys[..., :key_width], values[..., :value_width]


def _flash(
    layer: int,
    query: Tensor,
    new: tuple[Tensor, Tensor] | None,
    scaling: float,
    extras: Extras,
    ragged: Ragged,
) -> Tensor:
    """One decode step by flash-attn, which writes new keys and values itself, if they are given.

    Its length of a row is then that before the step, which is the new token's position.
    """
    keys, values = ragged.cache.read(layer, ragged.slots, ragged.cache.capacity)
    key, value = new or (keys, values)
    heads, width, value_width = key.shape[1], keys.shape[-1], value.shape[-1]
    found = flash_attn_with_kvcache(
        _filled_up(query, width).transpose(1, 2),
        keys[:, :heads].transpose(1, 2),
        values[:, :heads].transpose(1, 2),
        k=None if new is None else _filled_up(key, width).transpose(1, 2),
        v=None if new is None else _filled_up(value, width).transpose(1, 2),
        cache_seqlens=ragged.bounds[2] if new is None else ragged.before,
        softmax_scale=scaling,
        causal=True,
        **_kernel_options(extras),
    )
    output, log_sum = found if extras.sinks is not None else (found, None)
    return _beside_sinks(output, log_sum, extras.sinks)[..., :value_width]


def _varlen(
    layer: int, query: Tensor, value_width: int, scaling: float, extras: Extras, ragged: Ragged
) -> Tensor:
    """One decode step by torch's own variable-length attention, where flash-attn is missing."""
    cache = ragged.cache
    keys, values = cache.read(layer, ragged.slots, cache.capacity)
    heads, width = query.shape[1], keys.shape[-1]
    queries_at, keys_at, seen = ragged.bounds
    sinks = extras.sinks is not None
    found = varlen_attn(
        _filled_up(query, width)[:, :, 0],
        # [rows, heads, capacity, width] are views of [rows, capacity, heads, width].
        keys.transpose(1, 2).flatten(0, 1),
        values.transpose(1, 2).flatten(0, 1),
        queries_at,
        keys_at,
        1,
        cache.capacity,
        scale=scaling,
        window_size=_window_size(extras.window),
        enable_gqa=True,
        seqused_k=seen,
        return_aux=AuxRequest(lse=True) if sinks else None,
    )
    output, log_sum = cast(tuple[Tensor, Tensor], found) if sinks else (cast(Tensor, found), None)
    if log_sum is not None:  # [heads, rows]
        log_sum = log_sum.t()[..., None]
    assert output.shape[1] == heads
    return _beside_sinks(output[:, None], log_sum, extras.sinks)[..., :value_width]


def _kernel_options(extras: Extras) -> dict[str, object]:
    """What flash-attn calls an architecture's extras; nothing where there are none."""
    options: dict[str, object] = {}
    if extras.window is not None:
        options["window_size"] = _window_size(extras.window)
    if extras.softcap is not None:
        options["softcap"] = extras.softcap
    if extras.sinks is not None:
        options["return_softmax_lse"] = True
    return options


def _window_size(window: int | None) -> tuple[int, int]:
    """Keys seen to the left of a query and to its right, as kernels count them."""
    return (-1, -1) if window is None else (window - 1, 0)


def _filled_up(states: Tensor, width: int) -> Tensor:
    """States [..., up to width] with zeros, which add nothing to a score."""
    return pad(states, (0, width - states.shape[-1])) if states.shape[-1] < width else states


def _beside_sinks(output: Tensor, log_sum: Tensor | None, sinks: Tensor | None) -> Tensor:
    """Outputs [rows, 1, heads, width] of a softmax, as of one that a sink had a share in.

    With L the log of the sum of exponentials, [rows, heads, 1], e^L / (e^L + e^sink) remains.
    """
    if log_sum is None or sinks is None:
        return output
    share = torch.sigmoid(log_sum.float() - sinks.float()[:, None])
    return output * share.transpose(1, 2)[..., None].to(output.dtype)


def attention(
    query: Tensor,
    keys: Tensor,
    values: Tensor,
    hidden: tuple[Tensor, Tensor | None],
    prefix: tuple[Tensor, Tensor] | None,
    extras: Extras = PLAIN,
) -> Tensor:
    """Softmax attention of ``query`` [rows, kv_heads, group, new, key_width].

    All rows' queries meet the shared prefix in one matrix product per head, which reads it once
    instead of once a row; the softmax is over prefix and own keys together. ``hidden`` are the own
    keys and those of the prefix that a query may not see; a window is in it already.
    """
    rows, heads, group, new, width = query.shape
    own, (hidden_own, hidden_before) = keys.shape[2], hidden
    scores = (query.flatten(2, 3) @ keys.transpose(-1, -2)).unflatten(2, (group, new))
    scores = _capped(scores, extras.softcap).masked_fill_(hidden_own, -torch.inf)
    if prefix is None:
        weights = _shares(scores, extras.sinks)
        return (weights.flatten(2, 3) @ values).unflatten(2, (group, new))
    shared_keys, shared_values = prefix
    by_head = query.transpose(0, 1).reshape(heads, -1, width)
    shared = (by_head @ shared_keys.transpose(-1, -2)).view(heads, rows, group, new, -1)
    shared = _capped(shared, extras.softcap).transpose(0, 1)
    if hidden_before is not None:
        shared = shared.masked_fill(hidden_before, -torch.inf)
    weights = _shares(torch.cat([shared, scores], -1), extras.sinks)
    of_prefix, of_own = weights.split([shared.shape[-1], own], -1)
    output = (of_own.flatten(2, 3) @ values).unflatten(2, (group, new))
    by_head = of_prefix.transpose(0, 1).reshape(heads, -1, shared.shape[-1])
    return output + (by_head @ shared_values).view(heads, rows, group, new, -1).transpose(0, 1)


def _capped(scores: Tensor, softcap: float | None) -> Tensor:
    return scores if softcap is None else (scores / softcap).tanh_().mul_(softcap)


def _shares(scores: Tensor, sinks: Tensor | None) -> Tensor:
    """Softmax of scores [rows, kv_heads, group, new, keys], of which a sink may have a share."""
    if sinks is None:
        return scores.softmax(-1)
    by_head = sinks.to(scores.dtype).view(1, *scores.shape[1:3], 1, 1)
    beside = by_head.expand(*scores.shape[:-1], 1)
    return torch.cat([scores, beside], -1).softmax(-1)[..., :-1]


AttentionInterface.register(ATTENTION_NAME, attend)
