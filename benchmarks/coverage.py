"""How often intervals of differences cover the truth, and how often they contradict their test.

Studies are drawn from populations of problems whose true difference is known. Needs no model.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from powerblend.analysis.paired import difference_interval, sign_flip_p

Counts = NDArray[np.int64]


class Population(NamedTuple):
    """Problems to draw studies from.

    Attributes
    ----------
    answers
        To each problem by each condition.
    difference
        The mean difference over all problems of the population, in answers.
    draw, draw_equal
        A study's differences by problem, in answers, from the population and from the same with
        no mean difference.
    """

    name: str
    answers: int
    difference: float
    draw: Callable[[np.random.Generator], Counts]
    draw_equal: Callable[[np.random.Generator], Counts]


class Found(NamedTuple):
    """Shares of the studies.

    Attributes
    ----------
    covered
        Whose interval holds the true difference.
    contradicted
        Whose interval excludes 0 though p >= 0.05.
    rejected_if_equal
        Whose p < 0.05 where there is no difference: the size of the test.
    """

    covered: float
    contradicted: float
    rejected_if_equal: float


def of_rates(problems: int, rates: dict[int, float], equal: dict[int, float]) -> Population:
    """Of problems whose differences have given chances; the rest differ by 0."""

    def drawing(rates: dict[int, float]) -> Callable[[np.random.Generator], Counts]:
        values, chances = [*rates, 0], [*rates.values(), 1 - sum(rates.values())]
        return lambda rng: rng.choice(values, problems, p=chances)

    shown = ", ".join(f"{value:+d}: {rate:.0%}" for value, rate in rates.items())
    difference = sum(value * rate for value, rate in rates.items())
    return Population(
        f"{problems} problems, {shown}", 1, difference, drawing(rates), drawing(equal)
    )


def of_counts(problems: int, answers: int, shift: float) -> Population:
    """Of problems whose chances are uniform in (0, 1), the second's higher by a shift in logits."""

    def drawing(shift: float) -> Callable[[np.random.Generator], Counts]:
        def draw(rng: np.random.Generator) -> Counts:
            chances = rng.random(problems)
            shifted = expit(logit(chances) + shift)
            return rng.binomial(answers, shifted) - rng.binomial(answers, chances)

        return draw

    chances = (np.arange(100_000) + 0.5) / 100_000
    difference = answers * float(np.mean(expit(logit(chances) + shift) - chances))
    name = f"{problems} problems × {answers} answers, {shift:+g} logits"
    return Population(name, answers, difference, drawing(shift), drawing(0.0))


POPULATIONS = (
    of_rates(104, {1: 0.03, -1: 0.01}, {1: 0.02, -1: 0.02}),
    of_rates(104, {2: 0.01, 1: 0.04, -1: 0.03}, {2: 0.01, 1: 0.02, -1: 0.04}),
    of_rates(30, {1: 0.1, -1: 0.05}, {1: 0.075, -1: 0.075}),
    *(of_counts(problems, 8, shift) for problems in (13, 104) for shift in (0.0, 0.5, 1.0)),
)


def measure(population: Population, draws: int, rng: np.random.Generator) -> Found:
    """What is found in so many studies of a population."""
    truth = population.difference / population.answers
    studies = [population.draw(rng) for _ in range(draws)]
    shares = [study / population.answers for study in studies]
    intervals = [difference_interval(share, population.answers, largest=2) for share in shares]
    excluding = [s for s, (low, high) in zip(studies, intervals, strict=True) if low * high > 0]
    equal = [_p(population.draw_equal(rng)) for _ in range(draws)]
    return Found(
        covered=float(np.mean([low <= truth <= high for low, high in intervals])),
        contradicted=sum(_p(study) >= 0.05 for study in excluding) / draws,
        rejected_if_equal=float(np.mean([p < 0.05 for p in equal])),
    )


def _p(differences: Counts) -> float:
    return sign_flip_p(differences, np.zeros_like(differences))


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write the table."""
    from bench import parser, write_table

    options = parser(__doc__)
    options.add_argument("--draws", type=int, default=1000, help="studies (default 1000)")
    draws = options.parse_args(arguments).draws
    rows: list[dict[str, Any]] = []
    for population in POPULATIONS:
        # Studies of one answer per problem are drawn in no time.
        studies = 5 * draws if population.answers == 1 else draws
        found = measure(population, studies, np.random.default_rng(1))
        rows.append(
            {
                "population": population.name,
                "covered": f"{found.covered:.1%}",
                "excludes 0 though p ≥ .05": f"{found.contradicted:.1%}",
                "p < .05 without a difference": f"{found.rejected_if_equal:.1%}",
            }
        )
    write_table(
        "coverage",
        "Intervals of differences, nominally 95%",
        rows,
        f"{draws:,} studies of each population, {5 * draws:,} with one answer per "
        "problem. Rates are of problems by what they differ in, in "
        "answers; chances of several answers are uniform over problems, and the second "
        "condition's are shifted in logits. The second population is an interaction, and so is "
        "its like without a difference: +2: 1%, +1: 2%, -1: 4%, which is not symmetric.",
    )


if __name__ == "__main__":
    main()
