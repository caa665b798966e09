"""Others' numbers beside this study's: the same quantities, each from its own source."""

from collections.abc import Mapping, Sequence

from powerblend.analysis.roles import (
    POWER,
    accuracies_by_role,
    conditions_by_role,
    published_datasets,
)
from powerblend.report.text import escaped, named, percent, points, table
from powerblend.study.schema import Study
from powerblend.vocabulary.published import PublishedNumbers, PublishedSource
from powerblend.vocabulary.summary import Summary

GAINS = (
    ("power", "temperature", "Power sampling over low temperature"),
    ("power", "base", "Power sampling over ordinary sampling (base)"),
    ("temperature", "base", "Low temperature over ordinary sampling (base)"),
    ("power", "greedy", "Power sampling over greedy"),
    ("particles", "power", "Power-SMC over power sampling"),
    ("tempering", "power", "Tempering over power sampling"),
    ("temperature", "greedy", "Low temperature over greedy"),
    ("blend_power", "greedy", "Blended power sampling over greedy"),
    ("blend_power", "power", "Blended power sampling over power sampling"),
)
"""Two roles, and what the difference of their accuracies is called."""

SETTINGS = {
    "alpha": "α",
    "steps": "moves per block",
    "blocks": "blocks",
    "max_new_tokens": "longest answer (tokens)",
    "beta": "β",
    "layer": "blend layer",
}
"""Settings of power sampling that studies are compared by, and what they are called."""


def stand_ins(summary: Summary) -> str:
    """Which conditions stand for their role, where a role has several."""
    compared = {role for plus, minus, _ in GAINS for role in (plus, minus)}
    several = [
        f"`{names[0]}` of {named(names)}"
        for role, names in conditions_by_role(summary).items()
        if role in compared and len(names) > 1
    ]
    if not several:
        return ""
    return f"Of this study's conditions of one kind the first is taken: {'; '.join(several)}."


def gains_table(summary: Summary, published: PublishedNumbers) -> str:
    """The differences that at least one study has, a column for each study."""
    studies = accuracies_by_role(summary, published)
    rows = [
        [label, *(_gain(accuracies, plus, minus) for accuracies in studies.values())]
        for plus, minus, label in GAINS
        if any({plus, minus} <= accuracies.keys() for accuracies in studies.values())
    ]
    return table(["Difference", *map(escaped, studies)], rows)


def _gain(accuracies: Mapping[str, float], plus: str, minus: str) -> str:
    if not {plus, minus} <= accuracies.keys():
        return "—"
    change = points(accuracies[plus] - accuracies[minus], "")
    return f"{change} ({percent(accuracies[minus])} → {percent(accuracies[plus])})"


def settings_table(summary: Summary, published: PublishedNumbers, study: Study) -> str:
    """How the studies were run, a column for each."""
    models = _models_by_source(published)
    sources = [published.sources[key] for key in published.sources if key in models]
    ours = _own_settings(summary)
    rows = [
        ["model", *(escaped(models[k]) for k in published.sources if k in models)],
        ["dataset", *(escaped(source.dataset) for source in sources)],
        ["problems", *(str(source.problems) for source in sources)],
        *(
            [label, *(_setting(source, key) for source in sources)]
            for key, label in SETTINGS.items()
        ),
    ]
    own = [
        escaped(study.model.name),
        escaped(study.dataset.name),
        str(summary.problems),
        *(ours.get(key, "—") for key in SETTINGS),
    ]
    header = ["", *(escaped(source.label) for source in sources), "this study"]
    return table(header, [[*row, last] for row, last in zip(rows, own, strict=True)])


def _models_by_source(published: PublishedNumbers) -> dict[str, str]:
    """The models of each source that has results, in one line."""
    models: dict[str, list[str]] = {}
    for result in published.results:
        models.setdefault(result.source, []).append(result.model)
    return {source: ", ".join(dict.fromkeys(names)) for source, names in models.items()}


def _setting(source: PublishedSource, key: str) -> str:
    return f"{source.settings[key]:g}" if key in source.settings else "—"


def _own_settings(summary: Summary) -> dict[str, str]:
    """The settings of this study's power sampling, listed where conditions differ."""
    found: dict[str, set[float]] = {}
    for condition in summary.conditions.values():
        if condition.description.role == POWER:
            for key, value in condition.settings.items():
                if key in SETTINGS and isinstance(value, (int, float)):
                    found.setdefault(key, set()).add(value)
    return {key: _listed(sorted(values)) for key, values in found.items()}


def _listed(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)


def has_base(summary: Summary) -> bool:
    """Whether a condition samples from the model as it is."""
    return "base" in conditions_by_role(summary)


def comparable(published: PublishedNumbers, study: Study) -> bool:
    """Whether this study's problems are those of the published numbers."""
    return study.dataset.name in published_datasets(published)
