"""Blend sources: what is mixed into the target's logits, one file each.

A source is a pydantic model with the keys that a condition's ``blend:`` mapping may hold, and the
methods of `base.Blend`. To add one, write its file and add it to `AnyBlend`.
"""

from powerblend.blends.base import Blend
from powerblend.blends.layer import LayerBlend

AnyBlend = LayerBlend

__all__ = ["AnyBlend", "Blend", "LayerBlend"]
