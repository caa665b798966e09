"""Samplers: ways of decoding, one file each.

A sampler is a pydantic model with the keys that a condition may hold, and the methods of
`base.Sampler`. To add one, write its file and add it to `AnySampler`.
"""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, TypeAdapter

from powerblend.samplers.base import Sampler
from powerblend.samplers.greedy import Greedy
from powerblend.samplers.power import Power
from powerblend.samplers.temperature import Temperature

AnySampler = Annotated[Greedy | Temperature | Power, Field(discriminator="sampler")]

_adapter: TypeAdapter[Sampler] = TypeAdapter(AnySampler)


def parse_sampler(decoding: Mapping[str, Any] | Sampler) -> Sampler:
    """The sampler that a condition's mapping describes.

    Raises
    ------
    pydantic.ValidationError
        If a key is unknown or a value is not allowed; it names both.
    """
    if isinstance(decoding, Sampler):
        return decoding
    return _adapter.validate_python(dict(decoding))


__all__ = ["AnySampler", "Greedy", "Power", "Sampler", "Temperature", "parse_sampler"]
