"""The study's contrasts, declared before it ran: what differs, and whether chance would do it."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from statsmodels.stats.multitest import multipletests

from powerblend.analysis.grades import correct_counts
from powerblend.analysis.paired import Comparison, compare_clustered, compare_single
from powerblend.study.contrasts import Contrast, parse_contrast
from powerblend.vocabulary.summary import ContrastResult, Verdict


def contrasts(grades: pd.DataFrame, declared: Sequence[str]) -> list[ContrastResult]:
    """The declared contrasts of conditions that the grades have.

    With one answer per problem a difference is judged by the exact McNemar test; an interaction
    (A - B) - (C - D), and everything where there are several answers, by the exact permutation test
    over problems. The p-values are adjusted for all contrasts by Holm's method (Scand. J. Statist.
    6, 1979).
    """
    counts = correct_counts(grades)
    samples = grades["sample"].nunique()
    compared = [
        (contrast, compare(contrast, counts, samples))
        for contrast in map(parse_contrast, declared)
        if set(contrast.conditions) <= set(counts.columns)
    ]
    if not compared:
        return []
    adjusted = multipletests([comparison.p for _, comparison in compared], method="holm")[1]
    return [
        _result(contrast, comparison, float(p))
        for (contrast, comparison), p in zip(compared, adjusted, strict=True)
    ]


def compare(contrast: Contrast, counts: pd.DataFrame, samples: int) -> Comparison:
    """The comparison that fits the contrast, from the counts of `correct_counts`."""
    plus, minus = (
        counts[list(names)].sum(axis=1).to_numpy(np.int64)
        for names in (contrast.plus, contrast.minus)
    )
    if samples == 1 and len(contrast.plus) == 1:
        return compare_single(plus, minus)
    return compare_clustered(plus, minus, samples, largest=len(contrast.plus))


def verdict(p: float) -> Verdict:
    """What an adjusted p-value may be called."""
    if p < 0.05:
        return "significant"
    return "suggestive" if p < 0.1 else "within noise"


def _result(contrast: Contrast, comparison: Comparison, p_holm: float) -> ContrastResult:
    return ContrastResult(
        name=contrast.name,
        kind="difference" if len(contrast.plus) == 1 else "interaction",
        plus=contrast.plus,
        minus=contrast.minus,
        **comparison._asdict(),
        p_holm=p_holm,
        verdict=verdict(p_holm),
    )
