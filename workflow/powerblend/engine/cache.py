"""The ragged key-value cache: a slot per row, written at per-row positions, rewound by copying.

    prefix [layer, key | value, head, position, head_dim]         what all prompts begin with, once
    store  [layer, key | value, slot, head, position, head_dim]   what follows it

    slot 0  | prompt ........ | answer ..... |              |
    slot 1  | prompt .. | answer ................. |        |
    slot 2  | prompt ............. | answer |               |

Positions are those of the model: a slot's first one is the length of the prefix. Rows in use are
always slots 0 to live - 1, so that a step works on views and never gathers. What lies past a row's
position is stale and never read. Copying a token's keys and values costs hundreds of times less
than computing them, which is why a rejected proposal is undone by putting a saved suffix back.
Knows no tokens and no chains.

``by_position`` lays the same cache out as kernels of attention want it, which then serve. With
``copy_prefix`` every slot begins with a copy of the prefix, for those who want a row's keys in one
piece.
"""

import torch
from torch import Tensor

CacheIndex = tuple[Tensor, Tensor]
"""Where in some slots tokens are written: rows [rows, 1] and columns [rows, new]."""


class RaggedCache:
    """Keys and values of ``slots`` rows of up to ``capacity`` tokens each, the prefix included."""

    def __init__(
        self,
        layers: int,
        slots: int,
        heads: int,
        capacity: int,
        head_dim: int,
        dtype: torch.dtype,
        device: torch.device,
        prefix: Tensor | None = None,
        by_position: bool = False,
        copy_prefix: bool = False,
    ) -> None:
        self.by_position, self.slots, self.capacity = by_position, slots, capacity
        self._prefix = None if copy_prefix else prefix
        self.start = 0 if self._prefix is None else self._prefix.shape[3]
        shape = [layers, 2, slots, heads, capacity - self.start, head_dim]
        if by_position:
            # The heads of a position lie together.
            shape[3], shape[4] = shape[4], shape[3]
        self._store = torch.zeros(shape, dtype=dtype, device=device)
        if by_position:
            self._store = self._store.transpose(3, 4)
            if self._prefix is not None:
                self._prefix = self._prefix.transpose(2, 3).contiguous().transpose(2, 3)
        if copy_prefix and prefix is not None:
            self._store[:, :, :, :, : prefix.shape[3]] = prefix[:, :, None]

    def index(self, positions: Tensor, rows: Tensor | None = None) -> CacheIndex:
        """Where ``positions`` [rows, new] of some slots are: ``rows`` [rows], by default all."""
        if rows is None:
            rows = torch.arange(len(positions), device=positions.device)
        return rows[:, None], positions - self.start

    def write(self, layer: int, slots: slice, index: CacheIndex, kv: tuple[Tensor, Tensor]) -> None:
        """Put keys and values [rows, heads, new, width] at an index that `index` gave.

        Those of a layer with fewer heads or narrower ones fill a part of their place.
        """
        for store, new in zip(self._store[layer, :, slots], kv, strict=True):
            if (new.shape[1], new.shape[3]) != (store.shape[1], store.shape[3]):
                store = store[:, : new.shape[1], :, : new.shape[3]]
            store.transpose(1, 2)[index] = new.transpose(1, 2)

    def read(self, layer: int, slots: slice | Tensor, length: int) -> tuple[Tensor, Tensor]:
        """Keys and values from the prefix's end to position ``length`` - 1, views of a slice."""
        keys, values = self._store[layer][:, slots, :, : length - self.start]
        return keys, values

    def prefix(self, layer: int) -> tuple[Tensor, Tensor] | None:
        """Keys and values [heads, start, head_dim] that all slots begin with."""
        if self._prefix is None:
            return None
        keys, values = self._prefix[layer]
        return keys, values

    def save(self, slot: int, start: int, stop: int) -> Tensor:
        """A copy of one slot's positions ``start`` to ``stop`` - 1, in the layout of the cache."""
        own = self._store[:, :, slot, :, start - self.start : stop - self.start]
        if not self.by_position:
            return own.clone()
        # A clone of a part is laid out as it is seen, which would scatter a position's heads.
        return own.transpose(2, 3).clone().transpose(2, 3)

    def restore(self, slot: int, start: int, saved: Tensor) -> None:
        """Put back what `save` returned, here or in another slot."""
        first = start - self.start
        self._store[:, :, slot, :, first : first + saved.shape[3]] = saved

    def copy(self, source: int, target: int, length: int) -> None:
        """Copy one slot's positions up to ``length`` - 1 over another's."""
        stop = length - self.start
        self._store[:, :, target, :, :stop] = self._store[:, :, source, :, :stop]
