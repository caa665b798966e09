"""Blended conditions over alpha and beta: the points of a sweep, and the maps that show it."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from powerblend.vocabulary.summary import Condition, ConditionResult, Summary, SweepPoint

MIN_POINTS = 3
"""Different (alpha, beta) of a sampler and source below which there is no sweep to speak of."""

NAMED_APART = {"sampler", "source", "layer", "norm", "alpha", "beta"}
"""Settings with a place of their own: in the title of a map or on its axes."""

Settings = tuple[tuple[str, str], ...]
"""Other settings by key, as text: what a source reads may be a list."""


class Panel(NamedTuple):
    """What a map holds fixed; ``others`` are the settings in which conditions differ besides."""

    sampler: str
    source: str | None
    layer: int | None
    norm: str | None
    others: Settings

    @property
    def title(self) -> str:
        """All of it in words."""
        parts = [self.sampler, f"{self.source}" + ("" if self.layer is None else f" {self.layer}")]
        if self.norm is not None:
            parts.append(f"norm {self.norm}")
        return ", ".join([*parts, *(f"{key} {value}" for key, value in self.others)])


def sweep(
    overall: Iterable[ConditionResult], conditions: Mapping[str, Condition]
) -> list[SweepPoint]:
    """The blended conditions with their settings and accuracies, if they make a sweep."""
    points = [
        _point(result, conditions[result.condition])
        for result in overall
        if result.condition in conditions and conditions[result.condition].blend is not None
    ]
    places = {(p.sampler, p.source, p.layer, p.norm, p.alpha, p.beta) for p in points}
    by_source = Counter(place[:4] for place in places)
    return points if max(by_source.values(), default=0) >= MIN_POINTS else []


def panels(summary: Summary) -> dict[Panel, list[SweepPoint]]:
    """The points of each map; unblended ones are in all of their sampler and other settings."""
    plain = unblended(summary)
    others = _other_settings(summary, [point.condition for point in (*summary.sweep, *plain)])
    maps: dict[Panel, list[SweepPoint]] = {}
    for point in summary.sweep:
        fixed = point.sampler, point.source, point.layer, point.norm, others[point.condition]
        maps.setdefault(Panel(*fixed), []).append(point)
    for point in plain:
        for panel, points in maps.items():
            same = set(others[point.condition]) <= set(panel.others)
            if panel.sampler == point.sampler and same:
                points.append(point)
    return maps


def unblended(summary: Summary) -> list[SweepPoint]:
    """The conditions at beta = 0 of the samplers that are swept."""
    swept = {point.sampler for point in summary.sweep}
    return [
        _point(result, condition).model_copy(update={"beta": 0.0})
        for result in summary.overall
        if (condition := summary.conditions[result.condition]).sampler in swept
        and condition.blend is None
    ]


def best(points: Sequence[SweepPoint]) -> list[SweepPoint]:
    """The points of a map with the highest accuracy: several, if they tie."""
    highest = max(point.accuracy for point in points)
    return [point for point in points if point.accuracy == highest]


def verdict(points: Sequence[SweepPoint]) -> str:
    """The sign of beta at the best of a map's points, or that there are several."""
    betas = sorted({point.beta or 0 for point in best(points)})
    signs = list(dict.fromkeys(map(_sign, betas)))
    if len(signs) > 1:
        return f"best β: a tie ({', '.join(signs)})"
    return f"best β: {signs[0]} ({', '.join(f'{beta:g}' for beta in betas)})"


def settings_run(summary: Summary) -> dict[str, list[float]]:
    """The α of the conditions that have one, and the β of the blend that has the most."""
    conditions = summary.conditions.values()
    betas: dict[str, set[float]] = {}
    for blend in (condition.blend for condition in conditions if condition.blend is not None):
        source = json.dumps(blend.model_dump(exclude={"beta"}), sort_keys=True)
        betas.setdefault(source, set()).add(blend.beta)
    alphas = {condition.alpha for condition in conditions if condition.alpha is not None}
    return {"α": sorted(alphas), "β": max(map(sorted, betas.values()), key=len, default=[])}


def not_swept(summary: Summary) -> list[str]:
    """Which of α and β the study has, and has at one value."""
    return [name for name, values in settings_run(summary).items() if len(values) == 1]


def why_no_map(summary: Summary) -> str:
    """Why there is nothing to map."""
    several = [
        f"{name} = {', '.join(f'{value:g}' for value in values)}"
        for name, values in settings_run(summary).items()
        if len(values) > 1
    ]
    if not several:
        return "This study sweeps neither α nor β."
    return (
        f"No map to show: the study ran {' and '.join(several)}, but no blend of one source at "
        "three settings of the two."
    )


def _point(result: ConditionResult, condition: Condition) -> SweepPoint:
    """A condition's settings, None for what its sampler or blend does not have, and accuracy."""
    blend = condition.blend
    return SweepPoint(
        condition=result.condition,
        sampler=condition.sampler,
        alpha=condition.alpha,
        beta=blend and blend.beta,
        source=blend and blend.source,
        layer=blend and blend.layer,
        norm=blend and blend.norm,
        accuracy=result.accuracy,
        low=result.low,
        high=result.high,
    )


def _other_settings(summary: Summary, names: Sequence[str]) -> dict[str, Settings]:
    """Of each condition, the settings in which those of its sampler differ."""
    settings = {name: _unnamed(summary.conditions[name]) for name in names}
    samplers = {name: summary.conditions[name].sampler for name in names}
    values: dict[tuple[str, str], set[str]] = {}
    for name, by_key in settings.items():
        for key, value in by_key.items():
            values.setdefault((samplers[name], key), set()).add(value)
    differing = sorted(place for place, found in values.items() if len(found) > 1)
    return {
        name: tuple(
            (key, by_key[key])
            for sampler, key in differing
            if sampler == samplers[name] and key in by_key
        )
        for name, by_key in settings.items()
    }


def _unnamed(condition: Condition) -> dict[str, str]:
    settings = condition.settings.items()
    return {key: str(value) for key, value in settings if key not in NAMED_APART}


def _sign(beta: float) -> str:
    return "zero" if beta == 0 else "positive" if beta > 0 else "negative"
