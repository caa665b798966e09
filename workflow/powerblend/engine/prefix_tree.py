"""What a model has computed of strings, by their tokens, so that no string is computed twice.

    prompt  The  answer  is  12      each token is a node, which has its keys and values, and the
                         |           hidden states there
                         =  12       strings that begin alike share the nodes of their beginning

The moves of a chain, the samples of a prompt and the conditions of a study write the same
beginnings again and again. Servers share their keys and values (RadixAttention; Zheng et al., arXiv
2312.07104, section 3); here hidden states are kept beside them, so a known token takes no pass
through the model, whether it is a prompt's or one that is drawn: only the product with ``lm_head``.
What is drawn, and from what, stays the same. Pays on the CPU, where a pass takes as long as the
arithmetic of its tokens.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from powerblend.engine.batch import Guesses
from powerblend.engine.cache import RaggedCache
from powerblend.engine.distributions import NO_TOKEN

ROOT, UNKNOWN = 0, -1
"""The node of the empty string, and the place of a node of which nothing is kept."""

_numbers = itertools.count(ROOT + 1)
"""Of nodes. None is given twice, so that rows under way go on from what was forgotten."""


class Pass(NamedTuple):
    """What `engine.model.Model.forward` is asked to run, and what it returns of it."""

    slots: slice
    tokens: Tensor
    positions: Tensor
    length: int
    layers_read: Sequence[int]
    guesses: Guesses | None

    @property
    def row_of_each(self) -> NDArray[np.int64]:
        """The slot of each line of ``tokens``."""
        lines = np.arange(len(self.tokens)) if self.guesses is None else self.guesses.row.numpy()
        return self.slots.start + lines


States = tuple[Tensor, tuple[Tensor, ...]]
Forward = Callable[[RaggedCache, Pass], States]
"""Runs a pass: what feeds ``lm_head``, and the outputs of the layers read."""


class SavedTokens(NamedTuple):
    """A slot's part of a `TrackedCache`."""

    keys: Tensor
    nodes: NDArray[np.int64]


class TrackedCache(RaggedCache):
    """A cache that knows the node of each token in it: ``nodes`` [slots, capacity]."""

    def __init__(
        self,
        shape: tuple[int, int, int, int, int],
        dtype: torch.dtype,
        device: torch.device,
        prefix: SavedTokens | None = None,
    ) -> None:
        """``shape`` is layers, slots, heads, capacity and width."""
        super().__init__(*shape, dtype, device, None if prefix is None else prefix.keys)
        self.nodes = np.full((self.slots, self.capacity), ROOT)
        if prefix is not None:
            self.nodes[:, : len(prefix.nodes)] = prefix.nodes

    def save(self, slot: int, start: int, stop: int) -> Any:
        """A copy of one slot's positions ``start`` to ``stop`` - 1."""
        return SavedTokens(super().save(slot, start, stop), self.nodes[slot, start:stop].copy())

    def restore(self, slot: int, start: int, saved: Any) -> None:
        """Put back what `save` returned, here or in another slot."""
        super().restore(slot, start, saved.keys)
        self.nodes[slot, start : start + len(saved.nodes)] = saved.nodes

    def copy(self, source: int, target: int, length: int) -> None:
        """Copy one slot's positions up to ``length`` - 1 over another's."""
        super().copy(source, target, length)
        self.nodes[target, :length] = self.nodes[source, :length]

    def tokens(self, slots: NDArray[np.int64], positions: NDArray[np.int64]) -> Tensor:
        """Keys and values of single tokens, [tokens, layers, 2, heads, width]."""
        columns = torch.from_numpy(positions - self.start)
        return self._store[:, :, torch.from_numpy(slots), :, columns]

    def put_tokens(
        self, slots: NDArray[np.int64], positions: NDArray[np.int64], keys: Tensor
    ) -> None:
        """Write what `tokens` returned, wherever it is from."""
        columns = torch.from_numpy(positions - self.start)
        self._store[:, :, torch.from_numpy(slots), :, columns] = keys


class PrefixTree:
    """What is kept of strings in up to ``size`` bytes; when they are full, all is forgotten.

    Attributes
    ----------
    size
        Bytes.
    layers
        Those whose outputs are kept, beside what feeds ``lm_head``.
    """

    def __init__(self, size: int, keys: Sequence[int], hidden: int, dtype: torch.dtype) -> None:
        """A token has ``keys`` [layers, 2, heads, width] and states of ``hidden`` numbers."""
        self.size = size
        self._shapes, self._dtype = (list(keys), hidden), dtype
        self.layers: tuple[int, ...] = ()
        self._begin()

    def read(self, layers: Sequence[int]) -> None:
        """Keep the outputs of these layers too: of what was read before they are not known."""
        new = sorted({*layers} - {*self.layers})
        if new:
            self.layers += tuple(new)
            self._begin()

    def _begin(self) -> None:
        """Make room for what is kept of a token; nothing is known then."""
        keys, hidden = self._shapes
        states = 1 + len(self.layers)
        self._most = self.size // ((math.prod(keys) + states * hidden) * self._dtype.itemsize)
        # They are written in and out of inference. Memory is taken as they are filled.
        with torch.inference_mode(False):
            self._keys = torch.empty(self._most, *keys, dtype=self._dtype)
            self._states = torch.empty(self._most, states, hidden, dtype=self._dtype)
        self._forget()

    def _forget(self) -> None:
        self._children: dict[tuple[int, int], int] = {}
        self._places: dict[int, int] = {}

    def forward(self, run: Forward, cache: TrackedCache, wanted: Pass) -> States:
        """Run a pass, but for the tokens whose strings are known."""
        self.read(wanted.layers_read)
        if len(self._places) + wanted.tokens.numel() > self._most:
            self._forget()
        nodes, places = self._follow(cache, wanted)
        known = places != UNKNOWN
        lines, columns = known.nonzero()
        slots, positions = wanted.row_of_each, wanted.positions.numpy()
        states = self._states.new_empty(*known.shape, *self._states.shape[1:])
        if len(lines):
            kept = torch.from_numpy(places[known])
            cache.put_tokens(slots[lines], positions[known], self._keys[kept])
            states[torch.from_numpy(known)] = self._states[kept]
        if not known.all():
            self._compute(run, cache, wanted, known, states)
            # A string that several rows feed is kept once.
            lines, columns = (~known).nonzero()
            fresh, first = np.unique(nodes[lines, columns], return_index=True)
            lines, columns = lines[first], columns[first]
            keys = cache.tokens(slots[lines], positions[lines, columns])
            self._keep(fresh, keys, states[torch.from_numpy(lines), torch.from_numpy(columns)])
        read = (states[:, :, 1 + self.layers.index(layer)] for layer in wanted.layers_read)
        return states[:, :, 0], tuple(read)

    def _follow(self, cache: TrackedCache, wanted: Pass) -> tuple[NDArray[np.int64], ...]:
        """The node of each token, and its place; the cache takes note of the nodes."""
        nodes = np.empty(wanted.tokens.shape, np.int64)
        firsts = wanted.positions[:, 0].tolist()
        lines = zip(nodes, wanted.row_of_each, firsts, wanted.tokens.tolist(), strict=True)
        for line, slot, first, tokens in lines:
            node = int(cache.nodes[slot, first - 1]) if first else ROOT
            for column, token in enumerate(tokens):
                node = line[column] = self._child(node, token)
            cache.nodes[slot, first : first + len(line)] = line
        places = [self._places.get(node, UNKNOWN) for node in nodes.ravel().tolist()]
        return nodes, np.array(places).reshape(nodes.shape)

    def _child(self, node: int, token: int) -> int:
        """The node of a token behind a string."""
        return self._children.setdefault((node, token), next(_numbers))

    def _compute(
        self,
        run: Forward,
        cache: TrackedCache,
        wanted: Pass,
        known: NDArray[np.bool_],
        states: Tensor,
    ) -> None:
        """Run the part of a pass whose strings are not known, and fill in its states."""
        lines, columns = (~known).nonzero()
        place: Any
        if wanted.tokens.shape[1] > 1:
            # A rectangle: the rows that hold unknown tokens, from the first such column on.
            rows, new = slice(lines.min(), lines.max() + 1), slice(columns.min(), None)
            first = wanted.slots.start + rows.start
            place = rows, new
            part = wanted._replace(slots=slice(first, first + rows.stop - rows.start))
        else:
            place = torch.from_numpy(lines)
            part = wanted if not known.any() else wanted._replace(guesses=_some(wanted, place))
        part = part._replace(
            tokens=wanted.tokens[place], positions=wanted.positions[place], layers_read=self.layers
        )
        final, outputs = run(cache, part)
        states[place] = torch.stack([final, *outputs], 2)

    def _keep(self, nodes: NDArray[np.int64], keys: Tensor, states: Tensor) -> None:
        """Keep what was computed of new nodes, if there is room for it at all."""
        first, last = len(self._places), len(self._places) + len(nodes)
        if last <= self._most:
            self._keys[first:last], self._states[first:last] = keys, states
            self._places.update(zip(nodes.tolist(), range(first, last), strict=True))


def _some(wanted: Pass, fed: Tensor) -> Guesses:
    """Some of the tokens that a step feeds, as those that it feeds to their rows."""
    rows, guesses = wanted.slots.stop - wanted.slots.start, wanted.guesses
    row = (fed if guesses is None else guesses.row[fed]).contiguous()
    # Row after row; of a row that is fed nothing no place is looked at.
    first = torch.searchsorted(row, torch.arange(rows)).clamp(max=len(row) - 1)
    offset = torch.arange(len(fed)) - first[row]
    guess = torch.full_like(fed, NO_TOKEN)
    return Guesses(row, offset, guess, first, int(offset.max()) + 1)
