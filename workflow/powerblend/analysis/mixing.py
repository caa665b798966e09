"""How fast kernels mix, from parallel chains: several samples of a problem have one law.

Knows no accuracy.
"""

import itertools
from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from powerblend.analysis.movement import moved
from powerblend.vocabulary.records import ReplicaGrade
from powerblend.vocabulary.summary import Condition, Mixing, SwapRate

Floats = NDArray[np.float64]

FEWEST_DRAWS = 4
"""Moves of a chain without which no effective number is estimated."""


def mixing(grades: pd.DataFrame, conditions: Mapping[str, Condition]) -> list[Mixing]:
    """Of every condition that makes moves or has particles; nothing where none is a new kernel.

    A kernel is what records hold more of than of one chain with uniform cuts.
    """
    if not {"moved", "replicas", "log_p_by_move"} & set(grades):
        return []
    return [
        _mixing(str(condition), answers)
        for condition, answers in grades.groupby("condition", sort=False)
        if condition in conditions and (answers["moves"].any() or _weights(answers))
    ]


def _mixing(name: str, answers: pd.DataFrame) -> Mixing:
    tokens = answers["decoded_tokens"].sum()
    changes = moved(answers).sum() if answers["moves"].any() else None
    draws, still = _effective(answers)
    weights = _weights(answers)
    sizes = [1 / float((shares**2).sum()) for shares in weights]
    return Mixing(
        condition=name,
        decoded_tokens=float(answers["decoded_tokens"].mean()),
        moved_per_thousand=None if changes is None else 1000 * float(changes / tokens),
        effective_per_thousand=None if draws is None else 1000 * draws / tokens,
        still=still,
        swaps=tuple(_swap_rates(answers)),
        particles=len(weights[0]) if weights else None,
        effective_particles=float(np.mean(sizes)) if sizes else None,
    )


def _effective(answers: pd.DataFrame) -> tuple[float | None, int | None]:
    """Effective draws of log p over all problems, and the problems in which log p never varies.

    Of those nothing can be told, and nothing is added for them.
    """
    if "log_p_by_move" not in answers or answers["log_p_by_move"].isna().any():
        return None, None
    problems = answers.groupby("problem_id", sort=False)["log_p_by_move"]
    by_problem = [np.array(chains.tolist()) for _, chains in problems]
    if any(chains.shape[1:] < (FEWEST_DRAWS,) for chains in by_problem):
        return None, None
    varying = [chains for chains in by_problem if np.ptp(chains) > 0]
    return sum(map(effective_draws, varying)), len(by_problem) - len(varying)


def effective_draws(chains: Floats) -> float:
    """Effective sample size of ``chains`` [chains, draws], which are not all the same number.

    m n / tau, tau = 1 + 2 sum of the autocorrelations rho_t, summed in pairs for as long as a pair
    is positive, and made to fall (Geyer, Statistical Science 7, 1992), with

        rho_t = 1 - (W - mean autocovariance at lag t) / V,   V = (n - 1) / n W + B / n

    so that chains which do not agree count for less (Gelman et al., Bayesian Data Analysis, 3rd
    ed., 11.5). Not more than the number of draws.
    """
    count, draws = chains.shape
    within = chains - chains.mean(1, keepdims=True)
    lagged = [(within[:, lag:] * within[:, : draws - lag]).sum(1) for lag in range(draws)]
    lags = np.mean(lagged, axis=1) / draws
    variance = lags[0] + (chains.mean(1).var(ddof=1) if count > 1 else 0.0)
    unbiased = lags[0] * draws / (draws - 1)
    rho = 1 - (unbiased - lags) / variance
    rho[0] = 1.0
    pairs = rho[: draws // 2 * 2].reshape(-1, 2).sum(1)
    negative = np.flatnonzero(pairs < 0)
    kept = np.minimum.accumulate(pairs[: negative[0]] if negative.size else pairs)
    return count * draws / max(1.0, float(2 * kept.sum() - 1))


def _swap_rates(answers: pd.DataFrame) -> Iterable[SwapRate]:
    """Of each rung, how often it swaps with the one above."""
    swapping: dict[float, list[ReplicaGrade]] = {}
    for rung in itertools.chain(*replicas_of(answers)):
        if rung.swaps is not None and rung.alpha is not None:
            swapping.setdefault(rung.alpha, []).append(rung)
    for alpha, rungs in sorted(swapping.items()):
        moves = sum(rung.moves or 0 for rung in rungs)
        yield SwapRate(alpha=alpha, rate=sum(rung.swaps or 0 for rung in rungs) / moves)


def _weights(answers: pd.DataFrame) -> list[Floats]:
    """Of each answer by particles, their shares of the weights, its own first."""
    others = [[r.weight for r in of if r.weight is not None] for of in replicas_of(answers)]
    return [np.array([max(0.0, 1 - sum(shares)), *shares]) for shares in others if shares]


def replicas_of(answers: pd.DataFrame) -> list[list[ReplicaGrade]]:
    """The other strings of each answer; nothing where no answer has any."""
    if "replicas" not in answers:
        return []
    given = [of for of in answers["replicas"] if isinstance(of, list)]
    return [[ReplicaGrade.model_validate(replica) for replica in of] for of in given]
