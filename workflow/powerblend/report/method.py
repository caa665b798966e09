"""The section about the method: which acceptance and proposals the study's chains have."""

from powerblend.analysis.roles import DRAFT
from powerblend.report.setup import base_distribution, sampling
from powerblend.report.text import number, table
from powerblend.samplers.base import ChainDescription
from powerblend.vocabulary.summary import Summary

PUBLISHED = "published"
"""The acceptance of the authors' reference code."""


def chains(summary: Summary) -> list[ChainDescription]:
    """The chains that the conditions run."""
    found = [condition.chain for condition in summary.conditions.values()]
    return [chain for chain in found if chain is not None]


def has_published_acceptance(summary: Summary) -> bool:
    """Whether a chain accepts as the reference code does."""
    return any(chain.acceptance == PUBLISHED for chain in chains(summary))


def all_are_exact(summary: Summary) -> bool:
    """Whether every chain leaves its target invariant."""
    return all(chain.exact for chain in chains(summary))


def proposes_from_blend(summary: Summary) -> bool:
    """Whether a chain with a blend proposes from its target, and not from the model alone."""
    return any(
        condition.blend is not None and condition.chain and condition.chain.proposal == "target"
        for condition in summary.conditions.values()
    )


def components_table(summary: Summary) -> str:
    """What every condition is made of, and the positions decoded per token of its answers."""
    header = ["Condition", "Base distribution", "Sampling", "Positions decoded per token"]
    rows = []
    for result in summary.overall:
        how = summary.conditions[result.condition]
        cost = result.decoded_tokens / result.tokens if result.tokens else None
        drafted = how.blend is not None and how.blend.source == DRAFT
        extra = "those of the draft" if drafted else "0"
        words = [f"`{result.condition}`", base_distribution(how), sampling(how)]
        rows.append([*words, number(cost, 2), extra])
    return table([*header, "Extra parameters"], rows, 3)
