"""The summary of a study: every number that its figures and its report show, in one JSON."""

from typing import Any

import pandas as pd

from powerblend.analysis.overall import CONFIDENCE, overall
from powerblend.samplers import Sampler


def summarise(grades: pd.DataFrame, samplers: dict[str, Sampler]) -> dict[str, Any]:
    """All tables of a study, as plain values."""
    return {
        "problems": int(grades["problem_id"].nunique()),
        "samples": int(grades["sample"].nunique()),
        "confidence": CONFIDENCE,
        "conditions": {
            name: sampler.model_dump(exclude_none=True) for name, sampler in samplers.items()
        },
        "blended": [name for name, sampler in samplers.items() if sampler.blend is not None],
        "overall": records(overall(grades)),
    }


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """A table's rows, with None where a value is missing."""
    rows = frame.astype(object).where(frame.notna(), None).to_dict("records")
    return [{str(column): value for column, value in row.items()} for row in rows]
