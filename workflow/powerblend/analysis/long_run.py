"""How far answers are from p^alpha, where a long run of the same study stands for it.

Conditions share random numbers, so an answer is compared with draws of the long run's *other*
chains only, which are independent of it. Each estimate is then without bias, and its noise is that
of the problems and of the chains.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from powerblend.analysis.overall import CONFIDENCE, accuracy
from powerblend.analysis.parallel_chains import SAME_DIGITS, moves_of
from powerblend.analysis.several_samples import by_problem
from powerblend.vocabulary.summary import (
    Condition,
    Distance,
    DistanceFromLongRun,
    LongRun,
    Noise,
)

Floats = NDArray[np.float64]


class Gaps(NamedTuple):
    """How answers to each problem differ from a long run's draws, each [problems].

    Attributes
    ----------
    gain
        Mean log p of the answers less that of the draws.
    rank
        Chance that an answer has more log p than a draw, equal ones counted half.
    energy
        2 E|X - Y| - E|X - X'| - E|Y - Y'|, X and X' of answers and Y and Y' of draws, which is 0
        exactly where the distributions are the same (Szekely & Rizzo, J. Stat. Plan. Inference 143,
        2013). Pairs are of different chains, so that this is its mean, and not the larger one of
        pairs with themselves.
    """

    gain: Floats
    rank: Floats
    energy: Floats


def long_run(
    grades: pd.DataFrame, conditions: Mapping[str, Condition], name: str | None
) -> LongRun | None:
    """Distances from the chains of the condition ``name``; None where it is not there or is short.

    Compared are the conditions without a blend that draw at all, chains of its exponent only.
    """
    answers = {str(condition): of for condition, of in grades.groupby("condition", sort=False)}
    moves = moves_of(answers[name]) if name in answers else None
    if name is None or moves is None:
        return None
    draws = moves[:, :, moves.shape[2] // 2 :]
    own = [gaps(draws[:, :, i], draws) for i in range(draws.shape[2])]
    return LongRun(
        condition=name,
        chains=draws.shape[1],
        draws=draws.shape[2],
        log_p=float(draws.mean()),
        gain_noise=_noise([found.gain for found in own]),
        rank_noise=_noise([found.rank for found in own]),
        energy_noise=_noise([found.energy for found in own]),
        distances=tuple(
            _distance(other, conditions[other], answers[other], draws)
            for other in _compared(conditions, name)
            if other in answers
        ),
    )


def _compared(conditions: Mapping[str, Condition], name: str) -> Iterator[str]:
    """The conditions that draw strings of the same space, and chains with the same target."""
    ours = conditions[name]
    for other, how in conditions.items():
        same = how.blend is None and how.max_new_tokens == ours.max_new_tokens
        drawn = not how.description.deterministic and how.alpha in (None, ours.alpha)
        if same and drawn and other != name:
            yield other


def _distance(
    name: str, how: Condition, answers: pd.DataFrame, draws: Floats
) -> DistanceFromLongRun:
    log_p = by_problem(answers, "log_p").astype(float).round(SAME_DIGITS)
    found = gaps(log_p, draws)
    shown = accuracy(answers)
    return DistanceFromLongRun(
        condition=name,
        kernel=_kernel(how),
        steps=how.chain.steps if how.chain else 0,
        decoded_tokens=float(answers["decoded_tokens"].mean()),
        accuracy=shown["accuracy"],
        low=shown["low"],
        high=shown["high"],
        log_p=float(log_p.mean()),
        gain=mean_interval(found.gain),
        rank=mean_interval(found.rank),
        energy=mean_interval(found.energy),
    )


def _kernel(how: Condition) -> str | None:
    """The acceptance of plain power sampling, whatever its number of moves."""
    refined = {"cut", "tries", "ladder"} & how.settings.keys()
    return str(how.settings["mh"]) if "mh" in how.settings and not refined else None


def gaps(answers: Floats, draws: Floats) -> Gaps:
    """Compare log p of answers [problems, chains] with draws [problems, chains, draws].

    Answer s is compared with the draws of the chains other than s, of which there must be some.
    """
    others = ~np.eye(answers.shape[1], dtype=bool)
    between = (answers[:, :, None, None] - draws[:, None])[:, others]  # [problems, pairs, draws]
    among = np.abs(answers[:, :, None] - answers[:, None])[:, others].mean(1)
    return Gaps(
        gain=between.mean((1, 2)),
        rank=(1 + np.sign(between)).mean((1, 2)) / 2,
        energy=2 * np.abs(between).mean((1, 2)) - among - _among_chains(draws),
    )


def _among_chains(draws: Floats) -> Floats:
    """Mean distance of draws of two chains, [problems].

    With all values sorted, sum of |y - y'| over pairs is a sum over the gaps between neighbours;
    that of pairs of one chain is taken off.
    """
    problems, chains, count = draws.shape
    pairs = (chains * count) ** 2 - chains * count**2
    within = _sum_of_distances(draws).sum(1)
    return (_sum_of_distances(draws.reshape(problems, -1)) - within) / pairs


def _sum_of_distances(values: Floats) -> Floats:
    """Sum of |x - y| over all ordered pairs along the last axis."""
    n = values.shape[-1]
    below = np.arange(1, n)
    return np.asarray(2 * (np.diff(np.sort(values, -1), axis=-1) * below * (n - below)).sum(-1))


def mean_interval(values: Floats) -> Distance:
    """A mean over problems with Student's t interval; of one problem there is no interval."""
    mean, n = float(values.mean()), len(values)
    if n < 2:
        return Distance(value=mean, low=None, high=None)
    error = float(values.std(ddof=1)) / np.sqrt(n)
    reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1)) * error
    return Distance(value=mean, low=mean - reach, high=mean + reach)


def _noise(values: list[Floats]) -> Noise:
    """Quantiles over states of their means over problems."""
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(np.mean(values, axis=1), [tail, 1 - tail])
    return Noise(low=float(low), high=float(high))
