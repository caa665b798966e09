"""Chains against majority votes at matched compute: what else their decoded tokens would buy."""

from collections.abc import Mapping

import pandas as pd

from powerblend.analysis.paired import bootstrap_interval
from powerblend.analysis.several_samples import shares, votes
from powerblend.vocabulary.summary import Condition, MatchedCompute


def matched(grades: pd.DataFrame, conditions: Mapping[str, Condition]) -> list[MatchedCompute]:
    """Every chain beside every unblended way of sampling; nothing with one sample per problem.

    ``bought`` is the largest number of samples whose mean decoded tokens are within those of one
    answer of the chain; ``k`` is that or, if it is fewer, the number drawn. ``difference`` is the
    chain's accuracy less that of the majority of k, with a bootstrap interval over problems. The
    contrast is not a declared one, so there is no p-value.
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
        if _samples_plainly(answered[plain])
        if (bought := int(tokens[chain] // tokens[plain]))
    ]


def _samples_plainly(condition: Condition) -> bool:
    """Whether each answer is drawn once, token by token, from the model alone."""
    drawn_once = condition.chain is None and not condition.description.deterministic
    return drawn_once and condition.blend is None


def _matched(chain: pd.DataFrame, plain: pd.DataFrame, bought: int, drawn: int) -> MatchedCompute:
    k = min(bought, drawn)
    ours, theirs = shares(chain), votes(plain, k)
    low, high = bootstrap_interval(ours - theirs)
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
