"""What conditions are to the study and to others' numbers. Pure selection over the summary.

Roles are the words of ``resources/published.yaml``; a sampler's description says which it has.
"""

from powerblend.vocabulary.published import PublishedNumbers
from powerblend.vocabulary.summary import Condition, Overlap, Summary

GREEDY, POWER = "greedy", "power"
"""Roles of the two samplers that the study's question is about."""

LAYER, DRAFT = "layer", "draft"
"""The blend source that is meant where none is named, and the one that is a network of its own."""

MAIN_PAIR = {"ps", "blend_ps"}
"""The conditions that the study's first question compares."""


def role_of(condition: Condition) -> str:
    """What a condition is in the words of ``resources/published.yaml``."""
    blend = condition.blend
    if blend is None:
        return condition.description.role
    prefix = "blend" if blend.source == LAYER else f"{blend.source}_blend"
    return f"{prefix}_{condition.description.role}"


def conditions_by_role(summary: Summary) -> dict[str, list[str]]:
    """The study's conditions by role; the first of a role stands for it."""
    roles: dict[str, list[str]] = {}
    for name in summary.accuracies():
        roles.setdefault(role_of(summary.conditions[name]), []).append(name)
    return roles


def accuracies_by_role(
    summary: Summary, published: PublishedNumbers
) -> dict[str, dict[str, float]]:
    """Accuracy by role, for each published source and model and, last, for this study."""
    groups: dict[str, dict[str, float]] = {}
    for result in published.results:
        label = f"{published.sources[result.source].label}, {result.model}"
        groups.setdefault(label, {})[result.role] = result.accuracy
    shares = summary.accuracies()
    ours = {role: shares[names[0]] for role, names in conditions_by_role(summary).items()}
    return groups | {"this study": ours}


def published_datasets(published: PublishedNumbers) -> set[str]:
    """The problem sets that others' numbers are of."""
    return {source.dataset for source in published.sources.values() if source.dataset}


def main_overlap(summary: Summary) -> Overlap | None:
    """The overlap to show first: power sampling with and without the blend, else the first."""
    main = [pair for pair in summary.overlaps if {pair.a, pair.b} == MAIN_PAIR]
    return next(iter([*main, *summary.overlaps]), None)


def draft_conditions(summary: Summary) -> list[str]:
    """The conditions that blend with a draft model."""
    return [name for name in summary.accuracies() if _is_drafted(summary.conditions[name])]


def beside_draft_conditions(summary: Summary) -> list[str]:
    """The draft conditions and those that share a sampler with one of them."""
    samplers = {summary.conditions[name].sampler for name in draft_conditions(summary)}
    return [name for name in summary.accuracies() if summary.conditions[name].sampler in samplers]


def _is_drafted(condition: Condition) -> bool:
    return condition.blend is not None and condition.blend.source == DRAFT
