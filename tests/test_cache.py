"""The cache gives back what it was given, in either layout, and after a shared prefix."""

import pytest
import torch
from torch import Tensor

from powerblend.engine.cache import RaggedCache

LAYERS, SLOTS, HEADS, CAPACITY, WIDTH = 2, 3, 2, 9, 4
LAYOUTS = [
    (by_position, start, copied)
    for by_position in (False, True)
    for start, copied in ((0, False), (3, False), (3, True))
]


@pytest.fixture(params=LAYOUTS)
def cache(request: pytest.FixtureRequest) -> RaggedCache:
    """One full of random numbers."""
    by_position, start, copied = request.param
    torch.manual_seed(0)
    prefix = torch.randn(LAYERS, 2, HEADS, start, WIDTH) if start else None
    shape = (LAYERS, SLOTS, HEADS, CAPACITY, WIDTH)
    cpu = torch.device("cpu")
    made = RaggedCache(*shape, torch.float32, cpu, prefix, by_position, copied)
    made._store.copy_(torch.randn(made._store.shape))
    return made


def stored(cache: RaggedCache) -> Tensor:
    """[layer, key | value, slot, head, position, head_dim], whatever the layout."""
    layers = [torch.stack(cache.read(i, slice(0, SLOTS), CAPACITY)) for i in range(LAYERS)]
    return torch.stack(layers)


@pytest.mark.parametrize("slot", [1, 2])
def test_a_suffix_is_put_back_where_it_was_or_in_another_slot(
    cache: RaggedCache, slot: int
) -> None:
    before, first = stored(cache), 4 - cache.start
    saved = cache.save(1, 4, 7)
    assert torch.equal(saved, before[:, :, 1, :, first : first + 3])
    cache._store[:, :, 1].zero_()
    assert not torch.equal(saved, stored(cache)[:, :, 1, :, first : first + 3])
    after = stored(cache)
    cache.restore(slot, 4, saved)
    after[:, :, slot, :, first : first + 3] = before[:, :, 1, :, first : first + 3]
    assert torch.equal(stored(cache), after)


def test_what_is_saved_has_the_layout_of_the_cache(cache: RaggedCache) -> None:
    """So that it is copied in runs as long as can be."""
    saved = cache.save(1, 4, 7)
    assert (saved.transpose(2, 3) if cache.by_position else saved).is_contiguous()


def test_a_copied_row_is_that_row_as_far_as_it_goes(cache: RaggedCache) -> None:
    expected, stop = stored(cache), 6 - cache.start
    cache.copy(0, 2, 6)
    expected[:, :, 2, :, :stop] = expected[:, :, 0, :, :stop]
    assert torch.equal(stored(cache), expected)


def test_tokens_are_written_at_their_own_positions(cache: RaggedCache) -> None:
    expected, positions = stored(cache), torch.tensor([[8, 3], [5, 4]])
    keys, values = torch.randn(2, 2, HEADS, 2, WIDTH)
    cache.write(1, slice(0, 2), cache.index(positions), (keys, values))
    for row in range(2):
        for i, at in enumerate(positions[row].tolist()):
            expected[1, 0, row, :, at - cache.start] = keys[row, :, i]
            expected[1, 1, row, :, at - cache.start] = values[row, :, i]
    assert torch.equal(stored(cache), expected)


@pytest.mark.parametrize("by_position", [False, True])
@pytest.mark.parametrize("copied", [False, True])
def test_a_prefix_is_in_memory_once_or_in_every_slot(by_position: bool, copied: bool) -> None:
    prefix, cpu = torch.randn(LAYERS, 2, HEADS, 3, WIDTH), torch.device("cpu")
    shape = (LAYERS, SLOTS, HEADS, CAPACITY, WIDTH)
    cache = RaggedCache(*shape, torch.float32, cpu, prefix, by_position, copied)
    own = CAPACITY if copied else CAPACITY - 3
    assert cache._store.numel() == LAYERS * 2 * SLOTS * HEADS * own * WIDTH
    for layer in range(LAYERS):
        once = cache.prefix(layer)
        assert (once is None) == copied
        keys, values = cache.read(layer, slice(0, SLOTS), 3) if once is None else once
        assert torch.equal(keys, prefix[layer, 0].expand_as(keys))
        assert torch.equal(values, prefix[layer, 1].expand_as(values))
        if once is not None:
            assert (keys.transpose(0, 1) if by_position else keys).is_contiguous()
