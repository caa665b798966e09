"""How Metropolis-Hastings chains went, block by block."""

from collections.abc import Mapping

import pandas as pd

from powerblend.vocabulary.summary import ChainProgress, Condition


def chains(grades: pd.DataFrame, conditions: Mapping[str, Condition]) -> list[ChainProgress]:
    """Acceptance in each block, and log target per token at its end, of conditions with a chain.

    A block's values are of the chains that reached it: the published acceptance stops at EOS.

    The log target of a string falls with its length, and a block's end is of longer strings than
    that of the block before: only per token do the two compare. Records hold the length of the
    final answer and not those at the ends of blocks. A state there is taken to be as long as the
    final answer, or as the block allows if that is shorter, which is exact for the last block and
    for every answer that no later move changed.
    """
    moved = grades[grades["moves"] > 0]
    return [
        _progress(str(condition), answers, conditions[str(condition)])
        for condition, answers in moved.groupby("condition", sort=False)
        if condition in conditions
    ]


def _progress(name: str, answers: pd.DataFrame, condition: Condition) -> ChainProgress:
    accepted = pd.DataFrame(answers["accepted_by_block"].tolist(), dtype=float)
    log_t = pd.DataFrame(answers["log_t_by_block"].tolist(), dtype=float)
    # Every block that a chain reaches has the same number of moves.
    steps = answers["moves"].reset_index(drop=True) / accepted.notna().sum(axis=1)
    lengths = _lengths_by_block(answers, condition)[log_t.columns].where(log_t.notna())
    return ChainProgress(
        condition=name,
        acceptance_by_block=accepted.div(steps, axis=0).mean().tolist(),
        log_t_per_token_by_block=(log_t.sum() / lengths.sum()).tolist(),
    )


def _lengths_by_block(answers: pd.DataFrame, condition: Condition) -> pd.DataFrame:
    """Tokens of each answer at the end of each block, as far as its record tells."""
    final = answers["n_tokens"].reset_index(drop=True)
    blocks = condition.chain.blocks if condition.chain else 1
    per_block = condition.max_new_tokens // blocks
    return pd.DataFrame({k: final.clip(upper=(k + 1) * per_block) for k in range(blocks)})
