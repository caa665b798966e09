"""Chains against majority votes at matched compute: what else their decoded tokens would buy."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from powerblend.analysis.paired import bootstrap_interval
from powerblend.analysis.several_samples import shares, votes
from powerblend.samplers import Power, Sampler, Temperature


def matched(grades: pd.DataFrame, samplers: Mapping[str, Sampler]) -> list[dict[str, Any]]:
    """A row per chain and unblended way of sampling, or none if there is one sample per problem.

    ``bought`` is the largest number of samples whose mean decoded tokens are within those of one
    answer of the chain; ``k`` is that or, if it is fewer, the number drawn. ``difference`` is the
    chain's accuracy less that of the majority of k, with a bootstrap interval over problems. The
    contrast is not a declared one, so there is no p-value.
    """
    drawn = grades["sample"].nunique()
    if drawn == 1:
        return []
    by_condition = dict(iter(grades.groupby("condition", sort=False)))
    tokens = {name: answers["decoded_tokens"].mean() for name, answers in by_condition.items()}
    answered = {name: how for name, how in samplers.items() if name in by_condition}
    chains = [name for name, how in answered.items() if isinstance(how, Power)]
    plain = [
        name for name, how in answered.items() if isinstance(how, Temperature) and not how.blend
    ]
    rows = []
    for chain in chains:
        for other in plain:
            bought = int(tokens[chain] // tokens[other])
            if bought:
                rows.append(_row(by_condition[chain], by_condition[other], bought, drawn))
    return rows


def _row(chain: pd.DataFrame, other: pd.DataFrame, bought: int, drawn: int) -> dict[str, Any]:
    k = min(bought, drawn)
    ours, theirs = shares(chain), votes(other, k)
    low, high = bootstrap_interval(ours - theirs)
    return {
        "chain": chain["condition"].iloc[0],
        "sampling": other["condition"].iloc[0],
        "bought": bought,
        "k": k,
        "accuracy": float(ours.mean()),
        "majority": float(theirs.mean()),
        "difference": float((ours - theirs).mean()),
        "low": low,
        "high": high,
    }
