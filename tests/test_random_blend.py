"""The random source: noise of the model's own size, which every machine draws alike.

That `sample` follows its distribution is shown in test_exactness.py.
"""

import numpy as np
import pytest
import torch

import tiny
from enumeration import rotation
from powerblend import Model, sample
from powerblend.blends import RandomBlend
from powerblend.study.resolve import BLEND

WIDTH = 64
ORDER = [0, 54, 43, 38, 21, 2, 11, 20]
SIGNS = [-1.0, -1.0, 1.0, -1.0, 1.0, 1.0, -1.0, -1.0]
"""Of the first numbers, as found once: where each goes, and its sign."""


class Untouched:
    """A model without a final norm."""

    num_layers = 2

    def normalise(self, hidden: torch.Tensor) -> torch.Tensor:
        return hidden


def turned(seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """The rotation as the blend does it, of the rows of the unit matrix."""
    return RandomBlend(beta=0.1, seed=seed).hidden((torch.eye(WIDTH, dtype=dtype),), Untouched())


def test_it_is_a_rotation_that_rounds_nothing() -> None:
    assert torch.equal(turned().T, rotation(WIDTH, torch.float64))
    assert torch.equal(turned() @ turned().T, torch.eye(WIDTH, dtype=torch.float64))
    numbers = torch.randn(5, WIDTH).to(torch.bfloat16)
    noise = RandomBlend(beta=0.1).hidden((numbers,), Untouched())
    assert noise.dtype == numbers.dtype
    assert torch.equal(noise.abs().sort().values, numbers.abs().sort().values)


def test_it_is_the_same_on_every_machine() -> None:
    order = turned().abs().argmax(0)[:8].tolist()
    assert order == ORDER
    assert torch.equal(turned().sum(0)[:8], torch.tensor(SIGNS, dtype=torch.float64))


def test_seeds_are_independent() -> None:
    same = (turned(seed=0) == turned(seed=1)) & (turned(seed=0) != 0)
    assert same.sum() < 8
    assert not torch.equal(turned(seed=0), turned(seed=1))


def test_it_knows_nothing() -> None:
    """Its logits have the size of the model's and, over seeds, no direction in common with them."""
    final, head = torch.randn(32, WIDTH), torch.randn(500, WIDTH)
    noise = [final @ rotation(WIDTH, final.dtype, seed).T for seed in range(40)]
    assert all(torch.allclose(n.norm(dim=-1), final.norm(dim=-1)) for n in noise)
    alike = [torch.cosine_similarity(final @ head.T, n @ head.T).mean().item() for n in noise]
    assert abs(np.mean(alike)) < 0.1


def test_it_is_named_in_a_configuration() -> None:
    blend = BLEND.validate_python({"source": "random", "beta": 0.2})
    assert blend == RandomBlend(beta=0.2)
    with pytest.raises(ValueError, match="layer"):
        BLEND.validate_python({"source": "random", "beta": 0.2, "layer": 3})


def test_it_changes_answers(model: Model) -> None:
    greedy = {"sampler": "greedy", "max_new_tokens": 12}
    plain, noisy = (
        [answer.tokens for answer in sample(model, [tiny.PROMPT], decoding)[0]]
        for decoding in (greedy, greedy | {"blend": {"source": "random", "beta": 0.9}})
    )
    assert plain != noisy
