"""Two sets of answers to the same problems: difference, interval, p-value and power.

Knows arrays with an entry per problem; no conditions, no tables.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.power import TTestPower

from powerblend.analysis.overall import CONFIDENCE

ALPHA = 1 - CONFIDENCE
RESAMPLES = 9999
SEED = 0
"""Of the bootstrap, so that the same grades give the same numbers."""

Ints = NDArray[np.int64]


class Comparison(NamedTuple):
    """A difference of accuracies; what is not defined is None.

    ``b`` problems are right in the first set only and ``c`` in the second only. ``power`` is the
    chance that a study like this one finds p < 0.05, before any adjustment, if the rates in it are
    the true ones. It follows from p and is no evidence beyond it (Hoenig & Heisey, The American
    Statistician 55, 2001): it says whether the study was large enough for such an effect.
    """

    difference: float
    low: float | None
    high: float | None
    p: float
    power: float | None
    b: int | None = None
    c: int | None = None


def compare_single(first: Ints, second: Ints) -> Comparison:
    """One answer per problem, 1 for right and 0 for wrong: the exact McNemar test."""
    n = len(first)
    b, c = int(np.sum(first > second)), int(np.sum(first < second))
    p = float(mcnemar([[0, b], [c, 0]], exact=True).pvalue)
    low, high = bonett_price(b, c, n)
    return Comparison((b - c) / n, low, high, p, mcnemar_power(b, c, n), b, c)


def compare_clustered(first: Ints, second: Ints, answers: int) -> Comparison:
    """Counts of right answers out of ``answers`` per problem; the problems are the units."""
    differences = first - second
    low, high = bootstrap_interval(differences / answers)
    return Comparison(
        difference=float(differences.mean()) / answers,
        low=low,
        high=high,
        p=sign_flip_p(first, second),
        power=t_power(differences),
    )


def bonett_price(b: int, c: int, n: int) -> tuple[float, float]:
    """Adjusted Wald interval of a difference of paired proportions.

    Bonett & Price, J. Educ. Behav. Stat. 37 (2012): Wald's interval after one more problem in each
    discordant cell. Recommended by Fagerland, Lydersen & Laake, Statistics in Medicine 33 (2014);
    it does not collapse at b + c = 0.
    """
    first, second = (b + 1) / (n + 2), (c + 1) / (n + 2)
    error = np.sqrt((first + second - (first - second) ** 2) / (n + 2))
    low, high = stats.norm.interval(CONFIDENCE, loc=first - second, scale=error)
    return max(float(low), -1.0), min(float(high), 1.0)


def mcnemar_power(b: int, c: int, n: int) -> float:
    """Power of the exact McNemar test of n problems at the discordant rates b/n and c/n.

    sum_m P(m discordant) P(p < 0.05 | m), m ~ Binomial(n, (b + c)/n) and, of those,
    Binomial(m, b/(b + c)) in favour of the first (Duffy, Biometrics 40, 1984).
    """
    if b + c == 0:
        return 0.0
    discordant = np.arange(n + 1)[:, None]
    ours = np.arange(n + 1)[None, :]
    fewer = np.minimum(ours, discordant - ours)
    rejects = 2 * stats.binom.cdf(fewer, discordant, 0.5) < ALPHA
    chance = stats.binom.pmf(ours, discordant, b / (b + c))  # 0 where ours > discordant
    given = np.where(rejects, chance, 0).sum(axis=1)
    return float(stats.binom.pmf(discordant[:, 0], n, (b + c) / n) @ given)


def sign_flip_p(first: Ints, second: Ints) -> float:
    """Exact two-sided permutation test of paired counts: P(|S| >= |s|), s = sum of differences.

    The two counts of a problem may be exchanged (Fisher, The Design of Experiments, 1935, sec. 21),
    so S = sum |d_i| - 2 sum_{i exchanged} |d_i|, each exchanged with chance 1/2. The d_i are whole
    numbers, so the chances of the second sum are a convolution (Pagano & Tritchler, JASA 78, 1983).
    """
    differences = first - second
    chances = np.ones(1)  # of 0, 1, 2, ... exchanged in all
    for size in np.abs(differences):
        chances = (np.pad(chances, (0, size)) + np.pad(chances, (size, 0))) / 2
    sums = np.abs(differences).sum() - 2 * np.arange(len(chances))
    return min(1.0, float(chances[np.abs(sums) >= abs(differences.sum())].sum()))


def bootstrap_interval(differences: NDArray[np.float64]) -> tuple[float | None, float | None]:
    """Percentile interval of the mean, problems resampled (Efron & Tibshirani 1993, ch. 13).

    None where all differences are equal: there is no variation to resample.
    """
    if np.ptp(differences) == 0:
        return None, None
    interval = stats.bootstrap(
        (differences,),
        np.mean,
        confidence_level=CONFIDENCE,
        method="percentile",
        n_resamples=RESAMPLES,
        batch=1000,
        rng=np.random.default_rng(SEED),
    ).confidence_interval
    return float(interval.low), float(interval.high)


def t_power(differences: Ints) -> float | None:
    """Power of the paired t test, which the permutation test approaches, at the observed effect."""
    if np.ptp(differences) == 0:
        return None
    effect = differences.mean() / differences.std(ddof=1)
    return float(TTestPower().power(effect, len(differences), ALPHA))
