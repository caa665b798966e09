"""How far answers are from p^alpha: all that a study has to tell it by."""

from collections.abc import Mapping

import pandas as pd

from powerblend.analysis.long_run import long_run
from powerblend.analysis.parallel_chains import parallel_chains
from powerblend.analysis.reweighting import reweightings
from powerblend.vocabulary.summary import Condition, Convergence


def convergence(
    grades: pd.DataFrame, conditions: Mapping[str, Condition], long: str | None = None
) -> Convergence | None:
    """Parallel chains, reweighted draws, and distances from the condition ``long``.

    None with one sample per problem, and where there is none of them.
    """
    found = Convergence(
        parallel=tuple(parallel_chains(grades, conditions)),
        reweighted=tuple(reweightings(grades, conditions)),
        long_run=long_run(grades, conditions, long),
    )
    return found if any(part for _, part in found) else None
