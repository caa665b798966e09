"""How Metropolis-Hastings chains went, block by block."""

import pandas as pd

from powerblend.vocabulary.summary import ChainProgress


def chains(grades: pd.DataFrame) -> list[ChainProgress]:
    """Acceptance in each block, and the mean log target at its end, of conditions with moves.

    A block's means are over the chains that reached it: the published acceptance stops at EOS.
    """
    moved = grades[grades["moves"] > 0]
    return [
        _progress(str(condition), answers)
        for condition, answers in moved.groupby("condition", sort=False)
    ]


def _progress(condition: str, answers: pd.DataFrame) -> ChainProgress:
    accepted = pd.DataFrame(answers["accepted_by_block"].tolist(), dtype=float)
    log_t = pd.DataFrame(answers["log_t_by_block"].tolist(), dtype=float)
    # Every block that a chain reaches has the same number of moves.
    steps = answers["moves"].reset_index(drop=True) / accepted.notna().sum(axis=1)
    return ChainProgress(
        condition=condition,
        acceptance_by_block=accepted.div(steps, axis=0).mean().tolist(),
        log_t_by_block=log_t.mean().tolist(),
    )
