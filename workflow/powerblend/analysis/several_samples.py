"""Several samples per problem: their spread, pass@k, majority vote@k and best-of-k.

Each value at k is what k of the n samples would give, averaged over the choice of the k.
"""

from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special, stats

from powerblend.graders.mathematics.normalise import spelling
from powerblend.vocabulary.summary import SeveralSamples, ValueAtK

MAX_SUBSETS = 500
"""Majority votes are held among all choices of k samples, or this many random ones."""

Floats = NDArray[np.float64]


def several_samples(grades: pd.DataFrame) -> list[SeveralSamples]:
    """Every condition's samples, or nothing if there is one sample per problem."""
    if grades["sample"].nunique() == 1:
        return []
    return [
        _samples(str(condition), answers)
        for condition, answers in grades.groupby("condition", sort=False)
    ]


def _samples(condition: str, answers: pd.DataFrame) -> SeveralSamples:
    correct = by_problem(answers, "correct").astype(float)
    log_p = by_problem(answers, "log_p").astype(float)
    spelled = spellings(answers)
    by_sample = correct.mean(axis=0)

    def at_each_k(value_at: Callable[[int], float]) -> tuple[ValueAtK, ...]:
        return tuple(ValueAtK(k=k, value=value_at(k)) for k in choices(correct.shape[1]))

    return SeveralSamples(
        condition=condition,
        mean=float(by_sample.mean()),
        se=float(stats.sem(by_sample)),
        pass_at=at_each_k(lambda k: pass_at(correct, k)),
        majority_at=at_each_k(lambda k: majority_at(spelled, correct, k)),
        best_of=at_each_k(lambda k: best_of(log_p, correct, k)),
    )


def choices(n: int) -> list[int]:
    """The numbers k that are looked at: all up to 16, powers of two beyond, and n."""
    powers = [2**i for i in range(5, n.bit_length())]
    return sorted({*range(1, min(n, 16) + 1), *powers, n})


def pass_at(correct: NDArray[Any], k: int) -> float:
    """Chance that one of k samples is right: 1 - C(n - c, k) / C(n, k), averaged over problems.

    The unbiased estimator of Chen et al., arXiv 2107.03374, eq. 1; ``correct`` is [problems, n].
    """
    n = correct.shape[1]
    none_right = stats.hypergeom.pmf(0, n, correct.sum(axis=1), k)
    return float(1 - none_right.mean())


def best_of(log_p: Floats, correct: Floats, k: int) -> float:
    """Accuracy of the most likely of k samples under the model itself; all arrays [problems, n].

    The i-th most likely of n, counted from 0, is the best of C(n - 1 - i, k - 1) of the C(n, k)
    choices. Sums of log-probabilities favour short answers.
    """
    return float(_bests(log_p, correct, k).mean())


def _bests(log_p: Floats, correct: Floats, k: int) -> Floats:
    n = correct.shape[1]
    ranked = np.take_along_axis(correct, np.argsort(-log_p, axis=1, kind="stable"), axis=1)
    chance = special.comb(n - 1 - np.arange(n), k - 1) / special.comb(n, k)
    return np.asarray(ranked @ chance)


def majority_at(spelled: NDArray[Any], correct: Floats, k: int) -> float:
    """Accuracy of the most frequent of k answers (self-consistency, arXiv 2203.11171).

    Answers are equal if they are spelled the same after normalisation; None does not vote. A tie
    is settled at random, so that each of the leading answers counts its share.
    """
    return float(_votes(spelled, correct, k).mean())


def votes(answers: pd.DataFrame, k: int) -> Floats:
    """The majority's accuracy on each problem, from a condition's grades; see `majority_at`."""
    return _votes(spellings(answers), by_problem(answers, "correct").astype(float), k)


def bests(answers: pd.DataFrame, k: int) -> Floats:
    """The best-of-k's accuracy on each problem, from a condition's grades; see `best_of`."""
    log_p, correct = (by_problem(answers, name).astype(float) for name in ("log_p", "correct"))
    return _bests(log_p, correct, k)


def shares(answers: pd.DataFrame) -> Floats:
    """The share of right answers to each problem, in the order of `votes`."""
    return by_problem(answers, "correct").astype(float).mean(axis=1)


def _votes(spelled: NDArray[Any], correct: Floats, k: int) -> Floats:
    ballots = ballots_of(correct.shape[1], k)
    return np.array([vote(ballots, *problem) for problem in zip(spelled, correct, strict=True)])


def vote(ballots: Floats, spelled: NDArray[Any], correct: Floats) -> float:
    """Expected accuracy of the votes on one problem."""
    codes, answers = pd.factorize(spelled)
    groups = codes[:, None] == np.arange(len(answers))  # [n, answers]
    right = (groups * correct[:, None]).sum(axis=0) / groups.sum(axis=0)
    counts = ballots @ groups
    leads = (counts == counts.max(axis=1, initial=0, keepdims=True)) & (counts > 0)
    return float(((leads @ right) / np.maximum(leads.sum(axis=1), 1)).mean())


def ballots_of(n: int, k: int) -> Floats:
    """Choices of k out of n samples, as rows of zeros and ones."""
    if special.comb(n, k) <= MAX_SUBSETS:
        chosen = np.array(list(combinations(range(n), k)))
    else:
        chosen = np.random.default_rng(0).random((MAX_SUBSETS, n)).argsort(axis=1)[:, :k]
    ballots = np.zeros((len(chosen), n))
    np.put_along_axis(ballots, chosen, 1, axis=1)
    return ballots


def by_problem(answers: pd.DataFrame, column: str) -> NDArray[Any]:
    """A column as [problems, samples]."""
    return answers.pivot(index="problem_id", columns="sample", values=column).to_numpy()


def spellings(answers: pd.DataFrame) -> NDArray[Any]:
    """How answers are spelled after normalisation, [problems, samples]; None for no answer."""
    return by_problem(
        answers.assign(spelled=answers["answer"].map(spell).astype(object)), "spelled"
    )


def spell(answer: str | None) -> str | None:
    """How an answer is spelled after normalisation; None where there is none."""
    return (spelling(answer) or None) if isinstance(answer, str) else None
