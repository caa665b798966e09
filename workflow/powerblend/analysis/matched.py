"""Chains against majority votes at matched compute: what else their decoded tokens would buy."""

from collections.abc import Mapping

import pandas as pd

from powerblend.analysis.paired import difference_interval
from powerblend.analysis.several_samples import Floats, shares, votes
from powerblend.vocabulary.summary import Condition, MatchedCompute


def matched(grades: pd.DataFrame, conditions: Mapping[str, Condition]) -> list[MatchedCompute]:
    """Every chain beside every unblended way of sampling; nothing with one sample per problem.

    ``bought`` samples have the mean decoded tokens of one answer of the chain, a number that is
    rarely whole; ``k`` is that or, if it is fewer, the number drawn. The vote of k is of the whole
    number below or of that above, by lot, so that it costs k samples on average. ``difference`` is
    the chain's accuracy less that of the vote, with an interval over problems. The contrast is not
    a declared one, so there is no p-value.
    """
    drawn = grades["sample"].nunique()
    if drawn == 1:
        return []
    answers = {str(name): of for name, of in grades.groupby("condition", sort=False)}
    tokens = {name: of["decoded_tokens"].mean() for name, of in answers.items()}
    answered = {name: how for name, how in conditions.items() if name in answers}
    return [
        _matched(answers[chain], answers[plain], bought, drawn)
        for chain in answered
        if answered[chain].chain is not None
        for plain in answered
        if samples_plainly(answered[plain])
        if (bought := float(tokens[chain] / tokens[plain])) >= 1
    ]


def samples_plainly(condition: Condition) -> bool:
    """Whether each answer is drawn once, token by token, from the model alone."""
    drawn_once = condition.chain is None and not condition.description.deterministic
    return drawn_once and condition.blend is None


def _matched(chain: pd.DataFrame, plain: pd.DataFrame, bought: float, drawn: int) -> MatchedCompute:
    k = min(bought, drawn)
    ours, theirs = shares(chain), _votes_between(plain, k)
    low, high = difference_interval(ours - theirs, drawn)
    return MatchedCompute(
        chain=chain["condition"].iloc[0],
        sampling=plain["condition"].iloc[0],
        bought=bought,
        k=k,
        accuracy=float(ours.mean()),
        majority=float(theirs.mean()),
        difference=float((ours - theirs).mean()),
        low=low,
        high=high,
    )


def _votes_between(plain: pd.DataFrame, k: float) -> Floats:
    """The majority's accuracy on each problem, of the whole numbers beside k in proportion."""
    below = int(k)
    above_share = k - below
    if not above_share:
        return votes(plain, below)
    return (1 - above_share) * votes(plain, below) + above_share * votes(plain, below + 1)
