"""Chains against choices among samples at matched compute: what else would their cost buy.

Cost is counted twice: in decoded tokens, which are the same on every machine, and in the seconds of
the records, which are an answer's share of its job's steps and depend on the machine and the batch.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

import pandas as pd

from powerblend.analysis.paired import difference_interval
from powerblend.analysis.several_samples import Floats, bests, shares, votes
from powerblend.vocabulary.summary import Choice, Condition, Cost, MatchedCompute

CHOICES: Sequence[tuple[Choice, Callable[[pd.DataFrame, int], Floats]]] = (
    ("majority", votes),
    ("best_of", bests),
)
"""Ways of choosing among samples, each with its accuracy on every problem."""

COSTS: Sequence[tuple[Cost, str]] = (("tokens", "decoded_tokens"), ("seconds", "seconds"))
"""What an answer costs, and the column that has it."""


def matched(grades: pd.DataFrame, conditions: Mapping[str, Condition]) -> list[MatchedCompute]:
    """Every chain beside every unblended way of sampling; nothing with one sample per problem.

    ``bought`` samples have the mean cost of one answer of the chain, a number that is rarely whole;
    ``k`` is that or, if it is fewer, the number drawn. The choice among k is among the whole number
    below or that above, by lot, so that it costs k samples on average. ``difference`` is the
    chain's accuracy less that of the choice, with an interval over problems. The contrast is not a
    declared one, so there is no p-value.
    """
    if grades["sample"].nunique() == 1:
        return []
    answers = {str(name): of for name, of in grades.groupby("condition", sort=False)}
    answered = {name: how for name, how in conditions.items() if name in answers}
    return [
        row
        for chain in answered
        if answered[chain].chain is not None
        for plain in answered
        if samples_plainly(answered[plain])
        for row in _matched(answers[chain], answers[plain])
    ]


def samples_plainly(condition: Condition) -> bool:
    """Whether each answer is drawn once, token by token, from the model alone."""
    drawn_once = condition.chain is None and not condition.description.deterministic
    return drawn_once and condition.blend is None


def _matched(chain: pd.DataFrame, plain: pd.DataFrame) -> Iterator[MatchedCompute]:
    """A chain beside one way of sampling, by either cost and either choice."""
    drawn, ours = plain["sample"].nunique(), shares(chain)
    for cost, column in COSTS:
        each = float(plain[column].mean())
        bought = float(chain[column].mean()) / each if each else 0.0
        if bought < 1:
            continue
        k = min(bought, drawn)
        for choice, accuracies in CHOICES:
            theirs = _between(accuracies, plain, k)
            low, high = difference_interval(ours - theirs, drawn)
            yield MatchedCompute(
                chain=chain["condition"].iloc[0],
                sampling=plain["condition"].iloc[0],
                cost=cost,
                choice=choice,
                bought=bought,
                k=k,
                accuracy=float(ours.mean()),
                chosen=float(theirs.mean()),
                difference=float((ours - theirs).mean()),
                low=low,
                high=high,
            )


def _between(
    accuracies: Callable[[pd.DataFrame, int], Floats], plain: pd.DataFrame, k: float
) -> Floats:
    """The accuracy on each problem, of the whole numbers beside k in proportion."""
    below = int(k)
    above_share = k - below
    if not above_share:
        return accuracies(plain, below)
    return (1 - above_share) * accuracies(plain, below) + above_share * accuracies(plain, below + 1)
