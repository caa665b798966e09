"""The section about kernels: ways of sampling p^α, and votes, at equal decoded tokens.

Nothing here computes a statistic.
"""

from powerblend.report.text import count, interval, named, number, percent, points, table
from powerblend.vocabulary.summary import Kernels, KernelVote, Mixing, Summary

WORDS = {
    "answer": "—",
    "majority": "majority of {k:.3g}",
    "log_p": "best of {k:.3g} by log p",
    "mean_log_p": "best of {k:.3g} by mean log p",
    "certainty": "best of {k:.3g} by self-certainty",
    "sharpened": "frequency^{gamma:g} of {k:.3g}",
    "rungs": "vote of its rungs",
    "weights": "vote of its particles, by weight",
}
"""How an answer is chosen."""

NEAR = 0.1
"""How far decoded tokens may be from the reference's, as a share, to be called equal."""


def budget_sentence(kernels: Kernels) -> str:
    """What all are compared at, and which of them cost more or less."""
    budget = _reference(kernels).decoded_tokens
    unequal = [
        f"{_name(vote)} ({vote.decoded_tokens:.0f})"
        for vote in kernels.votes
        if abs(vote.decoded_tokens / budget - 1) > NEAR
    ]
    first = f"`{kernels.reference}` decodes {budget:.1f} tokens a problem."
    if not unequal:
        return f"{first} Everything else is within 10% of that."
    return f"{first} Within 10% of that is everything but {', '.join(unequal)}."


def verdict_sentence(kernels: Kernels) -> str:
    """Which ways differ from the reference by more than their interval, and how many would."""
    compared = [vote for vote in kernels.votes if vote.difference is not None]
    apart = [vote for vote in compared if _apart(vote)]
    if not compared:
        return ""
    chance = "one in twenty is expected to by chance"
    if not apart:
        return f"None of the {len(compared)} intervals excludes 0."
    listed = "; ".join(f"{_name(vote)}, {points(vote.difference)}" for vote in apart)
    return (
        f"Of {count(len(compared), 'interval')}, {len(apart)} "
        f"{'excludes' if len(apart) == 1 else 'exclude'} 0, where {chance}: {listed}."
    )


def _apart(vote: KernelVote) -> bool:
    low, high = vote.difference_low, vote.difference_high
    return low is not None and high is not None and low * high > 0


def _reference(kernels: Kernels) -> KernelVote:
    return next(vote for vote in kernels.votes if vote.condition == kernels.reference)


def _name(vote: KernelVote) -> str:
    chosen = "" if vote.vote == "answer" else f", {_choice(vote)}"
    return f"`{vote.condition}`{chosen}"


def _choice(vote: KernelVote) -> str:
    return WORDS[vote.vote].format(k=vote.k, gamma=vote.gamma or 0)


def votes_table(summary: Summary, kernels: Kernels) -> str:
    """Every way with its cost, its accuracy, and its difference from the reference."""
    level = f"{summary.confidence:.0%} interval"
    header = ["Condition", "Chosen by", "Decoded tokens", "Accuracy", level]
    header += [f"Less `{kernels.reference}`", level]
    rows = [
        [
            f"`{vote.condition}`",
            _choice(vote),
            number(vote.decoded_tokens),
            percent(vote.accuracy),
            f"{percent(vote.low)} – {percent(vote.high)}",
            points(vote.difference),
            interval(vote.difference_low, vote.difference_high),
        ]
        for vote in kernels.votes
    ]
    return table(header, rows, names=2)


def mixing_table(kernels: Kernels) -> str:
    """How fast each mixes for what it decodes."""
    header = ["Condition", "Decoded tokens", "Changes per 1,000", "Effective draws per 1,000"]
    header += ["Problems without change", "Swaps by rung", "Effective particles"]
    return table(header, [_mixing_row(mixing) for mixing in kernels.mixing])


def _mixing_row(mixing: Mixing) -> list[str]:
    swaps = ", ".join(f"{swap.alpha:g}: {swap.rate:.0%}" for swap in mixing.swaps)
    particles = "—"
    if mixing.effective_particles is not None:
        particles = f"{mixing.effective_particles:.1f} of {mixing.particles}"
    return [
        f"`{mixing.condition}`",
        number(mixing.decoded_tokens),
        number(mixing.moved_per_thousand),
        number(mixing.effective_per_thousand),
        "—" if mixing.still is None else str(mixing.still),
        swaps or "—",
        particles,
    ]


def movement_table(summary: Summary) -> str:
    """What the moves of each chain did."""
    others = list(dict.fromkeys(name for of in summary.movements for name in of.equal))
    header = ["Condition", "Moves", "Changed the answer", "Per 1,000 decoded tokens"]
    header += ["Answers never changed", *(f"The string of {named(other)}" for other in others)]
    rows = [
        [
            f"`{of.condition}`",
            number(of.moves),
            number(of.moved),
            number(of.moved_per_thousand),
            percent(of.unmoved),
            *(percent(of.equal.get(other)) for other in others),
        ]
        for of in summary.movements
    ]
    return table(header, rows)


def movement_sentence(summary: Summary) -> str:
    """How much of a chain's acceptance is movement."""
    least = min(summary.movements, key=lambda of: of.moved / of.moves)
    most = max(summary.movements, key=lambda of: of.moved / of.moves)
    shares = dict.fromkeys(f"{of.moved / of.moves:.1%}" for of in (least, most))
    return f"Of the moves, {' to '.join(shares)} changed the answer, by condition."
