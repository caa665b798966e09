"""The summary of a study: every number that its figures and its report show, in one JSON."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from powerblend.analysis.breakdown import levels, subjects
from powerblend.analysis.chains import chains
from powerblend.analysis.compute import compute
from powerblend.analysis.contrasts import contrasts
from powerblend.analysis.difficulty import difficulty
from powerblend.analysis.disagreements import disagreements, records, ungraded
from powerblend.analysis.grades import check_paired
from powerblend.analysis.matched import matched
from powerblend.analysis.overall import CONFIDENCE, overall
from powerblend.analysis.overlap import overlaps
from powerblend.analysis.several_samples import sampling
from powerblend.analysis.sweep import sweep
from powerblend.samplers import Greedy, Sampler


def summarise(
    grades: pd.DataFrame, samplers: Mapping[str, Sampler], declared: Sequence[str] = ()
) -> dict[str, Any]:
    """All tables of a study, as plain values; ``declared`` are its contrasts.

    Shares are in [0, 1]; a value that is not defined is None.

    Raises
    ------
    ValueError
        If conditions did not answer the same problems the same number of times.
    """
    check_paired(grades)
    conditions = overall(grades)
    drawn = sampling(grades)
    greedy = {name for name, sampler in samplers.items() if isinstance(sampler, Greedy)}
    return {
        "problems": int(grades["problem_id"].nunique()),
        "samples": int(grades["sample"].nunique()),
        "confidence": CONFIDENCE,
        "conditions": {
            name: sampler.model_dump(exclude_none=True) for name, sampler in samplers.items()
        },
        "blended": [name for name, sampler in samplers.items() if sampler.blend is not None],
        "overall": records(conditions),
        "contrasts": contrasts(grades, declared),
        "difficulty": difficulty(grades),
        "levels": levels(grades),
        "subjects": subjects(grades),
        "overlaps": overlaps(grades),
        "sampling": drawn,
        "compute": compute(conditions, drawn, fixed=greedy),
        "matched": matched(grades, samplers),
        "chains": chains(grades),
        "sweep": sweep(conditions, samplers),
        "disagreements": disagreements(grades),
        "ungraded": ungraded(grades),
    }
