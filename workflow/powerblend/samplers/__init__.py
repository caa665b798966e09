"""Samplers: ways of decoding, one file each.

A sampler is a pydantic model with the keys that a condition may hold, and the methods of
`base.Sampler`. To add one, write its file and its line in `SAMPLERS`.
"""

from collections.abc import Mapping
from typing import Any

from powerblend.samplers.base import Sampler
from powerblend.samplers.greedy import Greedy
from powerblend.samplers.particles import ParticleSampler
from powerblend.samplers.power import Power
from powerblend.samplers.temperature import Temperature

SAMPLERS: dict[str, type[Sampler]] = {
    "greedy": Greedy,
    "temperature": Temperature,
    "power": Power,
    "particles": ParticleSampler,
}


def sampler_class(decoding: Mapping[str, Any]) -> type[Sampler]:
    """The class that a condition's ``sampler`` key names."""
    name = decoding.get("sampler")
    if not isinstance(name, str) or name not in SAMPLERS:
        raise ValueError(f"sampler is {name!r}; use one of {', '.join(SAMPLERS)}")
    return SAMPLERS[name]


def parse_sampler(decoding: Mapping[str, Any] | Sampler) -> Sampler:
    """The sampler that a condition's mapping describes.

    Raises
    ------
    ValueError
        If it is no mapping, there is no such sampler, or (pydantic.ValidationError) a key is
        unknown or a value is not allowed.
    """
    if isinstance(decoding, Sampler):
        return decoding
    if not isinstance(decoding, Mapping):
        raise ValueError(
            f"decoding is {decoding!r}; give a mapping, as "
            "{'sampler': 'power', 'alpha': 4.0, 'max_new_tokens': 64}"
        )
    return sampler_class(decoding).model_validate(dict(decoding))


__all__ = [
    "SAMPLERS",
    "Greedy",
    "ParticleSampler",
    "Power",
    "Sampler",
    "Temperature",
    "parse_sampler",
    "sampler_class",
]
