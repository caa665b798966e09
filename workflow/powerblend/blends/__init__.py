"""Blend sources: what is mixed into the target's logits, one file each.

A source is a pydantic model with the keys that a condition's ``blend:`` mapping may hold, and the
methods of `base.HiddenBlend`. To add one, write its file and add it to `AnyBlend`. A draft, which
is a network of its own, is a source too; `powerblend.draft` runs it.
"""

from typing import Annotated, Any, get_args

from pydantic import Discriminator, Tag

from powerblend.blends.base import Blend, HiddenBlend
from powerblend.blends.draft import DraftBlend
from powerblend.blends.layer import LayerBlend
from powerblend.blends.random import RandomBlend
from powerblend.blends.uniform import UniformBlend


def _source(blend: Any) -> Any:
    """A blend's ``source``, which is ``layer`` where a mapping has none; None of anything else."""
    if isinstance(blend, dict):
        return blend.get("source", "layer")
    return getattr(blend, "source", None)


AnyBlend = Annotated[
    Annotated[LayerBlend, Tag("layer")]
    | Annotated[DraftBlend, Tag("draft")]
    | Annotated[RandomBlend, Tag("random")]
    | Annotated[UniformBlend, Tag("uniform")],
    Discriminator(_source),
]

SOURCES = [blend.__metadata__[0].tag for blend in get_args(get_args(AnyBlend)[0])]
"""Their names."""

__all__ = [
    "SOURCES",
    "AnyBlend",
    "Blend",
    "DraftBlend",
    "HiddenBlend",
    "LayerBlend",
    "RandomBlend",
    "UniformBlend",
]
