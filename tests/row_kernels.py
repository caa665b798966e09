"""What a GPU's kernels between products are held to: torch's operations, in float32.

A kernel rounds once, so its numbers are within one place of those that are never rounded: that is
all the tolerance there is. Triton's interpreter cuts bfloat16 off where a GPU rounds it.
"""

from typing import Any

import torch
from torch import Tensor, nn

from powerblend.engine import gpu_rows
from powerblend.engine.cache import RaggedCache
from powerblend.engine.compiled_rows import Angles, HeadNorms, Where
from powerblend.engine.fused_layers import rotated

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
HEADS: dict[str, tuple[int, int, int]] = {
    "groups of four, 128 wide": (8, 2, 128),
    "groups of seven, 64 wide": (14, 2, 64),
    "a key for each query, 96 wide": (3, 3, 96),
    "one key for all, 8 wide": (4, 1, 8),
}
"""Heads of queries, heads of keys, and their width."""

SLOTS, CAPACITY, PREFIX = 5, 12, 3
ROWS = {
    "scattered rows": ([3, 0, 4, 1], [7, 3, 11, 4]),
    "several tokens": ([2, 0, 0, 0], [9, 4, 5, 6]),
}
"""Slots and positions of tokens, of which one row may have several."""


def close(ours: Tensor, exact: Tensor) -> None:
    """Within a place of the dtype of ours."""
    rounding = max(torch.finfo(ours.dtype).eps, 1e-5)
    torch.testing.assert_close(ours.float(), exact, rtol=rounding, atol=1e-5)


def check_placed(
    heads: tuple[int, int, int],
    rows: tuple[list[int], list[int]],
    dtype: torch.dtype,
    device: str,
    *,
    normed: bool,
    by_position: bool,
) -> None:
    """Queries, keys and values are torch's, and the rest of the cache stays as it was."""
    (query_heads, kv_heads, width), tokens = heads, len(rows[0])
    like: dict[str, Any] = {"dtype": dtype, "device": device}
    torch.manual_seed(0)
    by_head = torch.randn(tokens, query_heads + 2 * kv_heads, width, **like)
    angles = Angles(*torch.randn(2, tokens, 1, width, **like))
    weight = torch.rand(query_heads + kv_heads, width, **like) + 0.5
    prefix = torch.randn(2, 2, kv_heads, PREFIX, width, **like)
    shape = 2, SLOTS, kv_heads, CAPACITY, width
    cache = RaggedCache(*shape, dtype, torch.device(device), prefix, by_position)
    where = Where(*(torch.tensor(part, device=device) for part in rows), cache.start)
    expected = cache._store.clone()
    query = gpu_rows.placed(
        by_head,
        angles,
        cache.read(1, slice(0, SLOTS), CAPACITY),
        where,
        HeadNorms(weight, 1e-5) if normed else None,
    )

    exact = by_head.float()
    turned = exact[:, None, : query_heads + kv_heads]
    if normed:
        turned = nn.functional.rms_norm(turned, (width,), None, 1e-5) * weight.float()
    turned = rotated(turned, *(angle.float() for angle in angles))[:, 0]
    close(query, turned[:, :query_heads])
    keys, values = cache._store[1]
    at = where.slots, slice(None), where.positions - cache.start
    close(keys[at], turned[:, query_heads:])
    assert torch.equal(values[at], by_head[:, query_heads + kv_heads :])
    for side, part in enumerate((keys, values)):
        expected[1, side][at] = part[at]
    assert torch.equal(cache._store, expected)


def check_normed_sum(width: int, dtype: torch.dtype, device: str) -> None:
    """A sum is rounded, and its norm is that of what it was rounded to."""
    torch.manual_seed(0)
    left, right = 3 * torch.randn(2, 3, 1, width, dtype=dtype, device=device)
    weight = torch.rand(width, dtype=dtype, device=device) + 0.5
    total, normed = gpu_rows.normed_sum(left, right, weight, 1e-5)
    close(total, left.float() + right.float())
    close(normed, nn.functional.rms_norm(total.float(), (width,), weight.float(), 1e-5))


def check_gated(width: int, dtype: torch.dtype, device: str) -> None:
    """Gates of every size, for exponentials leave a dtype's range."""
    torch.manual_seed(0)
    sizes = torch.tensor([1.0, 9.0, 90.0], device=device)[:, None, None]
    both = (sizes * torch.randn(3, 2, 2 * width, device=device)).to(dtype)
    gate, up = both.float().chunk(2, -1)
    close(gpu_rows.gated(both), nn.functional.silu(gate) * up)
