"""Contrasts of conditions, as a configuration writes them: ``A - B``, ``(A - B) - (C - D)``."""

import re
from typing import NamedTuple

CONTRASTS = (
    "ps - base",
    "ps - temp",
    "temp - base",
    "blend_ps - ps",
    "ps - greedy",
    "blend_ps - greedy",
    "blend_greedy - greedy",
    "draft_blend_ps - ps",
    "(blend_ps - ps) - (blend_greedy - greedy)",
)
"""The contrasts of a study that declares none; it need not have all of their conditions."""

EQUIVALENCE_MARGIN = 3.0
"""Percentage points, of a study that says no other: smaller differences are of no interest."""

_PAIR = r"(\w+)\s*-\s*(\w+)"
_DIFFERENCE = re.compile(rf"\s*{_PAIR}\s*")
_INTERACTION = re.compile(rf"\s*\(\s*{_PAIR}\s*\)\s*-\s*\(\s*{_PAIR}\s*\)\s*")


class Contrast(NamedTuple):
    """A comparison of accuracies: those of ``plus`` less those of ``minus``."""

    name: str
    plus: tuple[str, ...]
    minus: tuple[str, ...]

    @property
    def conditions(self) -> tuple[str, ...]:
        """All that it compares."""
        return self.plus + self.minus


def parse_contrast(text: str) -> Contrast:
    """A difference ``A - B``, or an interaction ``(A - B) - (C - D)``.

    Raises
    ------
    ValueError
        If it is neither, or names a condition twice.
    """
    if match := _DIFFERENCE.fullmatch(text):
        a, b = match.groups()
        contrast = Contrast(f"{a} - {b}", (a,), (b,))
    elif match := _INTERACTION.fullmatch(text):
        a, b, c, d = match.groups()
        contrast = Contrast(f"({a} - {b}) - ({c} - {d})", (a, d), (b, c))
    else:
        raise ValueError(f"{text!r} is not a contrast; write A - B or (A - B) - (C - D)")
    for name in contrast.conditions:
        if contrast.conditions.count(name) > 1:
            raise ValueError(f"{text!r} names {name} twice; compare different conditions")
    return contrast


def canonical_contrast(text: str) -> str:
    """A contrast in the one spelling of it; raises as `parse_contrast` does."""
    return parse_contrast(text).name
