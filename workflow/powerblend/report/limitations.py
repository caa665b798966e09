"""What a reader must hold against the numbers, from the numbers."""

from powerblend.analysis.sweep import not_swept
from powerblend.report.method import PUBLISHED, all_are_exact, chains
from powerblend.report.text import count, escaped, named, percent
from powerblend.study.schema import Study
from powerblend.vocabulary.summary import Summary

PAPER_STEPS = 10
"""Moves per block in the Power Sampling paper."""

NEGLIGIBLE_SHARE = 0.01
"""Truncated or missing answers below this share are not worth a sentence."""


def limitations(summary: Summary, study: Study) -> list[str]:
    """A sentence or two each, the size of the study first."""
    candidates = [
        _size(summary),
        _samples(summary, study),
        _short_chains(summary),
        _truncated(summary),
        _unboxed(summary),
        _published_acceptance(summary),
        _inexact_acceptance(summary),
        _one_setting(summary),
        f"**One model and one problem set**: {escaped(study.model.name)} on "
        f"{escaped(study.dataset.name)}. Nothing here speaks of others.",
    ]
    return [text for text in candidates if text]


def _size(summary: Summary) -> str:
    widest = max((result.high - result.low) / 2 for result in summary.overall)
    return (
        f"**Size**: {count(summary.problems, 'problem')}. An accuracy is known to about "
        f"±{100 * widest:.0f} points, and one problem weighs {100 / summary.problems:.1f}."
    )


def _samples(summary: Summary, study: Study) -> str:
    seeds = study.answer_seeds
    if len(seeds) > 1:
        numbers = ", ".join(map(str, seeds))
        each = f"{study.samples} of each of {len(seeds)} seeds ({numbers})"
        return f"**{summary.samples} samples per problem**: {each}."
    seed = f"one seed ({seeds[0]})"
    if summary.samples == 1:
        return (
            f"**One sample, {seed}**: each condition gave one answer per problem, so the variation "
            "of a condition's own draws is not seen apart from that of the problems."
        )
    return f"**{summary.samples} samples per problem from {seed}.**"


def _short_chains(summary: Summary) -> str:
    steps = sorted({chain.steps for chain in chains(summary) if chain.steps < PAPER_STEPS})
    if not steps:
        return ""
    leaves = "The kernel leaves its target invariant, but a" if all_are_exact(summary) else "A"
    return (
        f"**Short chains**: {' or '.join(map(str, steps))} moves per block, where the paper made "
        f"{PAPER_STEPS}. {leaves} chain this short may be far from its stationary law."
    )


def _truncated(summary: Summary) -> str:
    worst = max(summary.overall, key=lambda result: result.truncated)
    if worst.truncated < NEGLIGIBLE_SHARE:
        return ""
    return (
        f"**Truncation**: up to {percent(worst.truncated)} of a condition's answers "
        f"(`{worst.condition}`) reached the longest length without ending. One that was cut off "
        "before its box is counted wrong, whatever it would have become."
    )


def _unboxed(summary: Summary) -> str:
    worst = max(summary.overall, key=lambda result: result.unboxed)
    if worst.unboxed < NEGLIGIBLE_SHARE:
        return ""
    return (
        f"**Missing answers**: up to {percent(worst.unboxed)} (`{worst.condition}`) have no "
        "answer to grade and are counted wrong."
    )


def _published_acceptance(summary: Summary) -> str:
    names = [name for name, rule in _inexact_rules(summary).items() if rule == PUBLISHED]
    if not names:
        return ""
    return (
        f"**Acceptance of the published code** in {named(names)}: it is not exact, and its chain "
        "does not converge to p^α."
    )


def _inexact_acceptance(summary: Summary) -> str:
    rules = {name: rule for name, rule in _inexact_rules(summary).items() if rule != PUBLISHED}
    if not rules:
        return ""
    return (
        f"**Acceptance {named(list(dict.fromkeys(rules.values())))}** in {named(list(rules))}: it "
        "is not exact, and the chain need not converge to its target."
    )


def _inexact_rules(summary: Summary) -> dict[str, str]:
    """The acceptance of each condition whose chain does not leave its target invariant."""
    return {
        name: how.chain.acceptance
        for name, how in summary.conditions.items()
        if how.chain is not None and not how.chain.exact
    }


def _one_setting(summary: Summary) -> str:
    single = not_swept(summary)
    if not single:
        return ""
    were = "was" if len(single) == 1 else "were"
    return (
        f"**One setting**: {' and '.join(single)} {were} not swept, so nothing is said of other "
        "values, nor that this is the best."
    )
