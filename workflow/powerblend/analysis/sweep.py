"""Blended conditions over alpha and beta."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import pandas as pd

from powerblend.samplers import Sampler

FEWEST = 3
"""Different (alpha, beta) of a sampler and source below which there is no sweep to speak of."""

SOURCE = ("sampler", "source", "layer", "norm")


def sweep(overall: pd.DataFrame, samplers: Mapping[str, Sampler]) -> list[dict[str, Any]]:
    """The blended conditions with their settings and accuracies, if they make a sweep."""
    blended = {name: sampler for name, sampler in samplers.items() if sampler.blend is not None}
    rows = [
        {**_settings(condition, blended[condition]), "accuracy": value, "low": low, "high": high}
        for condition, value, low, high in zip(
            *(overall[key] for key in ("condition", "accuracy", "low", "high")), strict=True
        )
        if condition in blended
    ]
    points = {tuple(row[key] for key in (*SOURCE, "alpha", "beta")) for row in rows}
    by_source = Counter(point[: len(SOURCE)] for point in points)
    return rows if max(by_source.values(), default=0) >= FEWEST else []


def _settings(name: str, sampler: Sampler) -> dict[str, Any]:
    """What a condition sets; None for what its sampler or blend source does not have."""
    return {
        "condition": name,
        "sampler": getattr(sampler, "sampler", None),
        "alpha": getattr(sampler, "alpha", None),
        "beta": getattr(sampler.blend, "beta", None),
        "source": getattr(sampler.blend, "source", None),
        "layer": getattr(sampler.blend, "layer", None),
        "norm": getattr(sampler.blend, "norm", None),
    }
