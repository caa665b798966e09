"""Two sets of answers to the same problems: difference, interval, p-value, and what is detectable.

Knows arrays with an entry per problem; no conditions, no tables.
"""

from bisect import bisect_left
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.power import TTestPower

from powerblend.analysis.overall import CONFIDENCE

ALPHA = 1 - CONFIDENCE
POWER = 0.8
"""Chance of p < 0.05 that makes a difference detectable."""

Ints = NDArray[np.int64]


class Comparison(NamedTuple):
    """A difference of accuracies; what is not defined is None.

    ``b`` problems are right in the first set only and ``c`` in the second only. ``detectable`` is
    the smallest difference that a study of this size finds with a chance of 80% at p < 0.05, before
    any adjustment. It takes from the answers how often or how far they differ, and not which way:
    power at the observed difference would say nothing beyond p (Hoenig & Heisey, The American
    Statistician 55, 2001). ``p_equivalence`` is that of `equivalence_p`.
    """

    difference: float
    low: float
    high: float
    p: float
    p_equivalence: float
    detectable: float | None
    b: int | None = None
    c: int | None = None


def compare_single(first: Ints, second: Ints, margin: float) -> Comparison:
    """One answer per problem, 1 for right and 0 for wrong: the exact McNemar test."""
    n = len(first)
    b, c = int(np.sum(first > second)), int(np.sum(first < second))
    p = float(mcnemar([[0, b], [c, 0]], exact=True).pvalue)
    differences = (first - second).astype(float)
    low, high = difference_interval(differences, 1)
    equivalence = equivalence_p(differences, 1, margin)
    detectable = detectable_by_mcnemar(b + c, n)
    return Comparison((b - c) / n, low, high, p, equivalence, detectable, b, c)


def compare_clustered(
    first: Ints, second: Ints, answers: int, margin: float, largest: float = 1.0
) -> Comparison:
    """Counts of right answers out of ``answers`` per problem; the problems are the units.

    ``largest`` is what a difference can be at most: 2 for an interaction.
    """
    differences = first - second
    low, high = difference_interval(differences / answers, answers, largest)
    return Comparison(
        difference=float(differences.mean()) / answers,
        low=low,
        high=high,
        p=sign_flip_p(first, second),
        p_equivalence=equivalence_p(differences / answers, answers, margin),
        detectable=detectable_by_t(differences, answers, largest),
    )


def difference_interval(
    differences: NDArray[np.float64], answers: int, largest: float = 1.0
) -> tuple[float, float]:
    """Interval of a mean difference of accuracies, carried over from pairs of proportions.

    Bonett & Price (J. Educ. Behav. Stat. 37, 2012) add one problem in favour of each side and take
    Wald's interval of n + 2 problems, which does not collapse where no problem differs. Here the
    two problems differ by sqrt((answers + 1) / 2) answers: by 1, as theirs, where there is one
    answer per problem; where there are several, (answers + 1) / 2 is about the largest mean square
    that chance alone gives a difference of two counts. The quantile is that of Student's t with
    n + 1 degrees of freedom. `benchmarks/coverage.py` measures how often it covers the truth, and
    how often it contradicts the exact test.

    Parameters
    ----------
    differences
        Of the shares of right answers to each problem.
    answers
        To a problem by each condition.
    largest
        What a difference can be at most: 2 for an interaction.
    """
    mean, error, freedom = _with_two_more(differences, answers)
    low, high = stats.t.interval(CONFIDENCE, freedom, loc=mean, scale=error)
    return max(float(low), -largest), min(float(high), largest)


def equivalence_p(differences: NDArray[np.float64], answers: int, margin: float) -> float:
    """Of two one-sided tests, the larger p: that a mean difference is not within +-margin.

    Below 0.05 exactly where the 90% interval of `difference_interval`'s kind lies within the margin
    (Schuirmann, J. Pharmacokinet. Biopharm. 15, 1987). Parameters as there.
    """
    mean, error, freedom = _with_two_more(differences, answers)
    nearest = margin - abs(mean)  # the other bound is further away
    return float(stats.t.sf(nearest / error, freedom))


def _with_two_more(differences: NDArray[np.float64], answers: int) -> tuple[float, float, int]:
    """Mean, standard error and degrees of freedom with a problem in favour of each side."""
    n = len(differences) + 2
    mean = differences.sum() / n
    square = (np.sum(differences**2) + (answers + 1) / answers**2) / n
    return float(mean), float(np.sqrt((square - mean**2) / n)), n - 1


def detectable_by_mcnemar(discordant: int, n: int) -> float | None:
    """The smallest difference that the exact McNemar test of n problems finds.

    With a chance of `POWER` at p < 0.05, where as many problems are solved by one condition only as
    here, or as many as the difference needs if that is more; None where no difference is enough.
    """

    def chance(net: int) -> float:
        differing = max(discordant, net)
        return mcnemar_power((differing + net) / 2, (differing - net) / 2, n)

    net = bisect_left(range(n + 1), POWER, key=chance)
    return net / n if net <= n else None


def mcnemar_power(b: float, c: float, n: int) -> float:
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
    Exact where differences are symmetric about 0, as they are if two conditions answer alike. Those
    of an interaction need not be; `benchmarks/coverage.py` finds the test conservative there.
    """
    differences = first - second
    chances = np.ones(1)  # of 0, 1, 2, ... exchanged in all
    for size in np.abs(differences[differences != 0]):
        chances = (np.pad(chances, (0, size)) + np.pad(chances, (size, 0))) / 2
    sums = np.abs(differences).sum() - 2 * np.arange(len(chances))
    return min(1.0, float(chances[np.abs(sums) >= abs(differences.sum())].sum()))


def detectable_by_t(differences: Ints, answers: int, largest: float = 1.0) -> float | None:
    """The smallest difference that a paired t test, which the permutation test approaches, finds.

    With a chance of `POWER` at p < 0.05, where differences vary as much as they did here; None
    where they did not vary at all, and where it is more than the ``largest`` that can be.
    """
    if np.ptp(differences) == 0:
        return None
    spread = float(differences.std(ddof=1)) / answers
    effect = TTestPower().solve_power(nobs=len(differences), alpha=ALPHA, power=POWER)
    found = float(effect) * spread
    return found if found <= largest else None
