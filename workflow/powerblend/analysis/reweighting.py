"""Weights exp(alpha log p - log q) of plain draws, and how many draws of p^alpha they leave."""

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from powerblend.analysis.matched import samples_plainly
from powerblend.analysis.several_samples import by_problem
from powerblend.vocabulary.summary import Condition, Reweighting

Floats = NDArray[np.float64]


def reweightings(grades: pd.DataFrame, conditions: Mapping[str, Condition]) -> list[Reweighting]:
    """Of every way of drawing plainly, towards the target of each unblended chain.

    Nothing with one sample per problem, whose weight says nothing.
    """
    if grades["sample"].nunique() < 2:
        return []
    answers = {str(name): of for name, of in grades.groupby("condition", sort=False)}
    return [
        _reweighting(name, alpha, answers[name])
        for name, condition in conditions.items()
        if name in answers and samples_plainly(condition) and "temperature" in condition.settings
        for alpha in sorted(set(_exponents(conditions, condition.max_new_tokens)))
    ]


def _exponents(conditions: Mapping[str, Condition], max_new_tokens: int) -> Iterator[float]:
    """Those of the chains over strings of that length; of shorter ones the space is another."""
    for other in conditions.values():
        unblended = other.blend is None and other.max_new_tokens == max_new_tokens
        if other.chain is not None and other.alpha is not None and unblended:
            yield other.alpha


def _reweighting(name: str, alpha: float, answers: pd.DataFrame) -> Reweighting:
    """Plain sampling's log t is its log q."""
    log_p, log_q = (by_problem(answers, key).astype(float) for key in ("log_p", "log_t"))
    correct = by_problem(answers, "correct").astype(float)
    log_weights = alpha * log_p - log_q
    weighted = [shares(of) @ right for of, right in zip(log_weights, correct, strict=True)]
    return Reweighting(
        condition=name,
        alpha=alpha,
        draws=log_weights.shape[1],
        effective=tuple(sorted(effective_draws(of_problem) for of_problem in log_weights)),
        accuracy=float(correct.mean()),
        reweighted=float(np.mean(weighted)),
    )


def effective_draws(log_weights: Floats) -> float:
    """(sum w)^2 / sum w^2 of weights given by their logs (Kong, JASA 89, 1994); 0 of none.

    Between 1 and their number; that of the infinite ones, where there are any.
    """
    found = shares(log_weights)
    return float(1 / np.sum(found**2)) if found.any() else 0.0


def shares(log_weights: Floats) -> Floats:
    """Weights as shares of their sum; of infinite ones each has the same, and 0 where all are 0."""
    largest = log_weights.max()
    if np.isinf(largest):
        weights = (log_weights == np.inf).astype(float)
    else:
        weights = np.exp(log_weights - largest)
    return weights / max(weights.sum(), 1.0)
