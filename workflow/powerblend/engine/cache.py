"""The ragged key-value cache: a slot per row, written at per-row positions, rewound by copying.

    store [layer, key | value, slot, head, position, head_dim]

    slot 0  | prompt ........ | answer ..... |              |
    slot 1  | prompt .. | answer ................. |        |
    slot 2  | prompt ............. | answer |               |

Rows in use are always slots 0 to live - 1, so that a step works on views and never gathers. What
lies past a row's position is stale and never read. Copying a token's keys and values costs
hundreds of times less than computing them, which is why a rejected proposal is undone by putting a
saved suffix back. Knows no tokens and no chains.
"""

import torch
from torch import Tensor


class RaggedCache:
    """Keys and values of ``slots`` rows of up to ``capacity`` tokens each."""

    def __init__(
        self,
        layers: int,
        slots: int,
        heads: int,
        capacity: int,
        head_dim: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        shape = (layers, 2, slots, heads, capacity, head_dim)
        self._store = torch.zeros(shape, dtype=dtype, device=device)

    def write(self, layer: int, slots: slice, positions: Tensor, kv: tuple[Tensor, Tensor]) -> None:
        """Put keys and values [rows, heads, new, head_dim] at ``positions`` [rows, new]."""
        rows = torch.arange(len(positions), device=positions.device)[:, None]
        for store, new in zip(self._store[layer, :, slots], kv, strict=True):
            store.transpose(1, 2)[rows, positions] = new.transpose(1, 2)

    def read(self, layer: int, slots: slice, length: int) -> tuple[Tensor, Tensor]:
        """Keys and values of the first ``length`` positions, as views."""
        keys, values = self._store[layer, :, slots, :, :length]
        return keys, values

    def save(self, slot: int, start: int, stop: int) -> Tensor:
        """A copy of one slot's positions ``start`` to ``stop`` - 1."""
        return self._store[:, :, slot, :, start:stop].clone()

    def restore(self, slot: int, start: int, saved: Tensor) -> None:
        """Put back what `save` returned, here or in another slot."""
        self._store[:, :, slot, :, start : start + saved.shape[3]] = saved

    def copy(self, source: int, target: int, length: int) -> None:
        """Copy the first ``length`` positions of one slot over another's."""
        self._store[:, :, target, :, :length] = self._store[:, :, source, :, :length]
