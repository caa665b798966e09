"""Attention over the ragged cache: one contract, called from inside any transformers model.

transformers looks attention up by name. A model loaded with ``attn_implementation="ragged"`` and
called inside of `attending_to` therefore writes and reads our cache instead of its own. The
contract is `attend`; its bodies are matrix products, which run anywhere, and on a GPU flash-attn,
or torch's own variable-length attention without it. Without a cache to attend to the same model
attends to its own input.

What all prompts begin with has its keys once. Matrix products meet it with the queries of all rows
together, and so does a kernel, in a launch of its own whose result is merged with that of the rows'
own keys, where that takes less time than reading a copy for each row (`reads_apart`).

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


MIN_SPARED_BYTES = 32_000_000
"""Keys and values of a layer that a kernel has to be spared for another launch to pay.

About what a GPU of 3.35 TB/s reads in the 10 microseconds that a few small launches take: computed,
and not measured.
"""


def reads_apart(prefix: Tensor | None, slots: int, windows: Sequence[int | None]) -> bool:
    """Whether kernels are to read a prefix [layers, 2, heads, start, width] once for all slots.

    Not where a layer has a window: how much of the prefix a query sees is then a matter of its
    position, and all queries are to see the same.
    """
    if prefix is None or any(window is not None for window in windows):
        return False
    return (slots - 1) * prefix[0].numel() * prefix.itemsize >= MIN_SPARED_BYTES


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


class Shape(NamedTuple):
    """A layer's heads of keys and values, and how wide they are; the cache may have more."""

    kv_heads: int
    key_width: int
    value_width: int


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
        if self.guesses is None:
            rows = torch.arange(len(self.positions), device=self.positions.device)
        else:
            rows = self.guesses.row.contiguous()
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

    @property
    def even(self) -> bool:
        """Whether a decode step feeds all rows the same number of tokens, `width`."""
        return self.guesses is None or self.guesses.even

    @property
    def width(self) -> int:
        """The most tokens that a decode step feeds to a row."""
        return 1 if self.guesses is None else self.guesses.width

    @cached_property
    def before(self) -> Tensor:
        """Tokens [rows] that a row has between prefix and queries, int32; for `even` steps."""
        return (self.positions[:: self.width, 0] - self.cache.start).int()

    @cached_property
    def bounds(self) -> tuple[Tensor, Tensor, Tensor]:
        """Where the rows' queries and keys begin, [rows + 1] each, and the keys they see, [rows].

        For `even` steps, over all slots' positions one after the other; int32.
        """
        each = torch.arange(len(self.before) + 1, dtype=torch.int32, device=self.before.device)
        own = self.cache.capacity - self.cache.start
        return each * self.width, each * own, self.before + self.width

    @cached_property
    def prefix_bounds(self) -> tuple[Tensor, Tensor]:
        """The same where all queries are one row and its keys the prefix, [2] each."""
        ends = torch.arange(2, dtype=torch.int32, device=self.positions.device)
        return ends * len(self.positions), ends * self.cache.start


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
    shape = Shape(key.shape[1], key.shape[-1], value.shape[-1])
    if _is_even(query, ragged) and flash_attn_with_kvcache is not None:
        return _flash(layer, query, (key, value), shape, scaling, extras, ragged), None
    cache.write(layer, ragged.slots, ragged.index, (key, value))
    return _attend_to_written(layer, query, shape, scaling, extras, ragged), None


def _is_even(query: Tensor, ragged: Ragged) -> bool:
    """Whether kernels may serve: of as many queries [fed, heads, 1, width] of each row."""
    return ragged.cache.by_position and query.shape[2] == 1 and ragged.even


def _attend_to_written(
    layer: int,
    query: Tensor,
    shape: Shape,
    scaling: float,
    extras: Extras,
    ragged: Ragged,
) -> Tensor:
    """What `attend` returns, of this pass's keys and values that the cache has already."""
    cache = ragged.cache
    if _is_even(query, ragged):
        if flash_attn_with_kvcache is not None:
            return _flash(layer, query, None, shape, scaling, extras, ragged)
        if extras.softcap is None:
            return _varlen(layer, query, shape, scaling, extras, ragged)
    stored = cache.read(layer, ragged.slots, ragged.length)
    own = _as_written(stored, *shape)
    plain = (extras.softcap, extras.sinks) == (None, None)
    if query.shape[2] == 1 and plain and own is stored and attends(query, *stored):
        prefix, window = cache.prefix(layer), extras.window
        return attended(query[:, :, 0], stored, prefix, ragged.where, scaling, window)[:, None]
    # Grouped queries are a dimension of their own, so keys are never repeated in memory.
    grouped = query.unflatten(1, (shape.kv_heads, -1)) * scaling
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
        shape = Shape(module.kv_heads, query.shape[-1], query.shape[-1])
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


class Part(NamedTuple):
    """What queries make of some of their keys: outputs [fed, heads, width] of a softmax over them.

    ``log_sum`` [fed, heads] is the log of its sum of exponentials, where that was asked for.
    """

    output: Tensor
    log_sum: Tensor | None


def _flash(
    layer: int,
    query: Tensor,
    new: tuple[Tensor, Tensor] | None,
    shape: Shape,
    scaling: float,
    extras: Extras,
    ragged: Ragged,
) -> Tensor:
    """One decode step by flash-attn, which writes new keys and values itself, if they are given.

    Its length of a row is then that before the step; the prefix is not counted if that is apart.
    """
    cache = ragged.cache
    own, prefix = cache.read(layer, ragged.slots, cache.capacity), cache.prefix(layer)
    fed = [_filled_up(part[:, :, 0], own[0].shape[-1]) for part in (query, *(new or ()))]
    queries, *kv = (part.unflatten(0, (-1, ragged.width)) for part in fed)
    options = _kernel_options(extras, prefix is not None)
    found = [
        flash_attn_with_kvcache(
            queries,
            *_by_position(own, shape.kv_heads),
            **dict(zip("kv", kv, strict=False)),
            cache_seqlens=ragged.bounds[2] if new is None else ragged.before,
            softmax_scale=scaling,
            causal=True,
            **options,
        )
    ]
    if prefix is not None:
        shared = (part[None] for part in _by_position(prefix, shape.kv_heads))
        found.append(
            flash_attn_with_kvcache(
                fed[0][None], *shared, softmax_scale=scaling, causal=False, **options
            )
        )
    output = _merged(list(map(_flash_part, found)), extras.sinks)
    return output[:, None, :, : shape.value_width]


def _flash_part(found: Tensor | tuple[Tensor, Tensor]) -> Part:
    """Of outputs [rows, width of rows, heads, width] and, if there, sums [rows, heads, width]."""
    if isinstance(found, Tensor):
        return Part(found.flatten(0, 1), None)
    output, log_sum = found
    return Part(output.flatten(0, 1), log_sum.transpose(1, 2).flatten(0, 1))


def _varlen(
    layer: int,
    query: Tensor,
    shape: Shape,
    scaling: float,
    extras: Extras,
    ragged: Ragged,
) -> Tensor:
    """One decode step by torch's own variable-length attention, where flash-attn is missing."""
    cache = ragged.cache
    own, prefix = cache.read(layer, ragged.slots, cache.capacity), cache.prefix(layer)
    queries = _filled_up(query[:, :, 0], own[0].shape[-1])
    queries_at, keys_at, seen = ragged.bounds
    sums = AuxRequest(lse=True) if prefix is not None or extras.sinks is not None else None
    # All slots' positions one after the other are views of [rows, positions, heads, width].
    keys, values = (part.flatten(0, 1) for part in _by_position(own, shape.kv_heads))
    found = [
        varlen_attn(
            queries,
            keys,
            values,
            queries_at,
            keys_at,
            ragged.width,
            cache.capacity - cache.start,
            scale=scaling,
            window_size=_window_size(extras.window, ragged.width),
            enable_gqa=True,
            seqused_k=seen,
            return_aux=sums,
        )
    ]
    if prefix is not None:
        found.append(
            varlen_attn(
                queries,
                *_by_position(prefix, shape.kv_heads),
                *ragged.prefix_bounds,
                len(queries),
                cache.start,
                scale=scaling,
                enable_gqa=True,
                return_aux=sums,
            )
        )
    output = _merged(list(map(_varlen_part, found)), extras.sinks)
    return output[:, None, :, : shape.value_width]


def _varlen_part(found: Tensor | tuple[Tensor, Tensor]) -> Part:
    """Of outputs [fed, heads, width] and, if there, sums [heads, fed]."""
    return Part(found, None) if isinstance(found, Tensor) else Part(found[0], found[1].t())


def _by_position(kv: tuple[Tensor, Tensor], heads: int) -> tuple[Tensor, Tensor]:
    """The first heads of keys and values [..., heads, positions, width], positions before heads."""
    keys, values = (part.narrow(-3, 0, heads).transpose(-3, -2) for part in kv)
    return keys, values


def _kernel_options(extras: Extras, apart: bool) -> dict[str, object]:
    """What flash-attn calls an architecture's extras; nothing where there are none.

    ``apart`` if its result is one of several parts.
    """
    options: dict[str, object] = {}
    if extras.window is not None:
        options["window_size"] = extras.window - 1, 0
    if extras.softcap is not None:
        options["softcap"] = extras.softcap
    if apart or extras.sinks is not None:
        options["return_softmax_lse"] = True
    return options


def _window_size(window: int | None, width: int) -> tuple[int, int]:
    """Keys seen to the left of a query and to its right, as torch's kernel counts them.

    The one query of a row has nothing to its right, so that no limit need be looked at.
    """
    if window is not None:
        return window - 1, 0
    return -1, -1 if width == 1 else 0


def _filled_up(states: Tensor, width: int) -> Tensor:
    """States [..., up to width] with zeros, which add nothing to a score."""
    return pad(states, (0, width - states.shape[-1])) if states.shape[-1] < width else states


def _merged(parts: Sequence[Part], sinks: Tensor | None) -> Tensor:
    """Outputs [fed, heads, width] of one softmax over the keys of all parts, and over sinks.

    With outputs O and logs of sums of exponentials L they are the sum of e^L O over that of e^L
    (Juravsky et al. 2024, "Hydragen", arXiv 2402.05099, section 3), hence weighted by the softmax
    of L. A sink [heads] is an L whose O is 0. As L is, this is computed in float32.
    """
    first = parts[0].output
    if len(parts) == 1 and sinks is None:
        return first
    log_sums = [part.log_sum for part in parts if part.log_sum is not None]
    if sinks is not None:
        log_sums.append(sinks.to(log_sums[0].dtype).expand_as(log_sums[0]))
    shares = torch.stack(log_sums).softmax(0)[..., None]
    merged = first * shares[0]
    for part, share in zip(parts[1:], shares[1:], strict=False):  # the last is the sinks'
        merged = torch.addcmul(merged, part.output, share)
    return merged.to(first.dtype)


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
