"""Which problems two conditions both solve, and which only one of them."""

from itertools import combinations

import pandas as pd

from powerblend.analysis.grades import correct_counts, first_samples
from powerblend.vocabulary.summary import Overlap


def overlaps(grades: pd.DataFrame) -> list[Overlap]:
    """Every pair of conditions, in report order, by their first samples."""
    solved = correct_counts(first_samples(grades)).astype(bool)
    return [_overlap(solved, a, b) for a, b in combinations(solved.columns, 2)]


def _overlap(solved: pd.DataFrame, a: str, b: str) -> Overlap:
    only_a = solved.index[solved[a] & ~solved[b]].tolist()
    only_b = solved.index[solved[b] & ~solved[a]].tolist()
    return Overlap(
        a=a,
        b=b,
        both=int((solved[a] & solved[b]).sum()),
        only_a=len(only_a),
        only_b=len(only_b),
        neither=int((~solved[a] & ~solved[b]).sum()),
        only_a_ids=only_a,
        only_b_ids=only_b,
    )
