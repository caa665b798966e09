"""The study's contrasts, declared before it ran: what differs, and whether chance would do it."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from statsmodels.stats.multitest import multipletests

from powerblend.analysis.grades import correct_counts
from powerblend.analysis.paired import Comparison, compare_clustered, compare_single
from powerblend.study.contrasts import Contrast, parse_contrast
from powerblend.vocabulary.summary import ContrastResult, Verdict


def contrasts(grades: pd.DataFrame, declared: Sequence[str], margin: float) -> list[ContrastResult]:
    """The declared contrasts of conditions that the grades have.

    With one answer per problem a difference is judged by the exact McNemar test; an interaction
    (A - B) - (C - D), and everything where there are several answers, by the exact permutation test
    over problems. Whether a difference is within +-``margin``, a share, is judged by two one-sided
    tests. Both kinds of p-values are adjusted for all contrasts by Holm's method (Scand. J.
    Statist. 6, 1979).
    """
    counts = correct_counts(grades)
    samples = grades["sample"].nunique()
    compared = [
        (contrast, compare(contrast, counts, samples, margin))
        for contrast in map(parse_contrast, declared)
        if set(contrast.conditions) <= set(counts.columns)
    ]
    if not compared:
        return []
    differ = holm([comparison.p for _, comparison in compared])
    equal = holm([comparison.p_equivalence for _, comparison in compared])
    return [
        _result(contrast, comparison, margin, p, p_equal)
        for (contrast, comparison), p, p_equal in zip(compared, differ, equal, strict=True)
    ]


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted for all of them."""
    return [float(p) for p in multipletests(p_values, method="holm")[1]]


def compare(contrast: Contrast, counts: pd.DataFrame, samples: int, margin: float) -> Comparison:
    """The comparison that fits the contrast, from the counts of `correct_counts`."""
    plus, minus = (
        counts[list(names)].sum(axis=1).to_numpy(np.int64)
        for names in (contrast.plus, contrast.minus)
    )
    if samples == 1 and len(contrast.plus) == 1:
        return compare_single(plus, minus, margin)
    return compare_clustered(plus, minus, samples, margin, largest=len(contrast.plus))


def verdict(p: float, p_equivalence: float = 1.0) -> Verdict:
    """What adjusted p-values may be called; what is significant is that, however small it is."""
    if p < 0.05:
        return "significant"
    if p_equivalence < 0.05:
        return "equivalent"
    return "suggestive" if p < 0.1 else "within noise"


def _result(
    contrast: Contrast,
    comparison: Comparison,
    margin: float,
    p_holm: float,
    p_equivalence_holm: float,
) -> ContrastResult:
    return ContrastResult(
        name=contrast.name,
        kind="difference" if len(contrast.plus) == 1 else "interaction",
        plus=contrast.plus,
        minus=contrast.minus,
        **comparison._asdict(),
        p_holm=p_holm,
        margin=margin,
        p_equivalence_holm=p_equivalence_holm,
        verdict=verdict(p_holm, p_equivalence_holm),
    )
