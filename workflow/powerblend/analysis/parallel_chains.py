"""Whether chains of a problem agree: split R-hat and bulk effective size of log p, by arviz.

The samples of a condition are its chains: each has its own random numbers.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from arviz_stats.base.array import array_stats
from numpy.typing import NDArray

from powerblend.vocabulary.summary import Condition, ParallelChains

Floats = NDArray[np.float64]

FEWEST_DRAWS = 16
"""Moves of a chain: of halves of four, autocorrelations are cut off before they are looked at."""

AGREED = 1.01
"""R-hat below which chains are taken to agree (Vehtari et al., Bayesian Analysis 16, 2021)."""

SAME_DIGITS = 3
"""Decimals of a log p, in nats: one string's value differs behind them from batch to batch."""


def parallel_chains(
    grades: pd.DataFrame, conditions: Mapping[str, Condition]
) -> list[ParallelChains]:
    """Of every condition that has several chains and log p after each move of the last block."""
    return [
        agreement(str(condition), chains)
        for condition, answers in grades.groupby("condition", sort=False)
        if condition in conditions and (chains := moves_of(answers)) is not None
    ]


def moves_of(answers: pd.DataFrame) -> Floats | None:
    """Log p by move of a condition's chains, [problems, chains, moves], in the order of their ids.

    None where it is not recorded, where chains end before the last block, as published ones may,
    and where there is one chain or fewer than `FEWEST_DRAWS` moves.
    """
    if "log_p_by_move" not in answers or answers["log_p_by_move"].isna().any():
        return None
    lengths = answers["log_p_by_move"].map(len).unique()
    if len(lengths) > 1 or lengths[0] < FEWEST_DRAWS or answers["sample"].nunique() < 2:
        return None
    ordered = answers.sort_values(["problem_id", "sample"])
    problems = ordered.groupby("problem_id")["log_p_by_move"]
    return np.array([moves.tolist() for _, moves in problems]).round(SAME_DIGITS)


def agreement(condition: str, chains: Floats) -> ParallelChains:
    """What R-hat and effective sizes say of chains [problems, chains, moves]."""
    found = [r_hat(of_problem) for of_problem in chains]
    sizes = [effective_size(of_problem) for of_problem in chains]
    _, count, moves = chains.shape
    return ParallelChains(
        condition=condition,
        chains=count,
        moves=moves,
        agreed_below=AGREED,
        still=sum(size is None for size in sizes),
        stuck=sum(value == np.inf for value in found),
        r_hat=tuple(sorted(value for value in found if value is not None and value < np.inf)),
        effective=tuple(sorted(size for size in sizes if size is not None)),
    )


def r_hat(chains: Floats) -> float | None:
    """Rank-normalised split R-hat of ``chains`` [chains, draws], the larger of bulk's and tail's.

    Vehtari et al., Bayesian Analysis 16 (2021), eq. 4 and 14. Infinite where no half of a chain
    varies and they differ; None where all draws are one number, and of a single chain.
    """
    if len(chains) < 2 or np.ptp(chains) == 0:
        return None
    with np.errstate(divide="ignore", invalid="ignore"):
        found = float(array_stats.rhat(chains, chain_axis=0, draw_axis=1, method="rank"))
    return None if np.isnan(found) else found


def effective_size(chains: Floats) -> float | None:
    """Bulk effective sample size of ``chains`` [chains, draws]; None where all are one number.

    The same, section 4.3: of rank-normalised split chains, what they disagree by included. It may
    be more than the number of draws, where these swing to and fro.
    """
    if np.ptp(chains) == 0:
        return None
    found = float(array_stats.ess(chains, chain_axis=0, draw_axis=1, method="bulk"))
    return None if np.isnan(found) else found
