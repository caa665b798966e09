"""Others' numbers beside this study's: the same quantities, each from its own source."""

from collections.abc import Mapping, Sequence
from typing import Any

from powerblend.report.text import cell, percent, points, series

Rows = list[list[str]]

GAINS = (
    ("power", "temperature", "Power sampling over low temperature"),
    ("power", "base", "Power sampling over ordinary sampling (base)"),
    ("power", "greedy", "Power sampling over greedy"),
    ("temperature", "greedy", "Low temperature over greedy"),
    ("blend_power", "greedy", "Blended power sampling over greedy"),
    ("blend_power", "power", "Blended power sampling over power sampling"),
)
SETTINGS = {
    "alpha": "α",
    "steps": "moves per block",
    "blocks": "blocks",
    "max_new_tokens": "longest answer (tokens)",
    "beta": "β",
    "layer": "blend layer",
}


def role_of(condition: Mapping[str, Any]) -> str:
    """What a condition is in the words of ``resources/published.yaml``."""
    blend = condition.get("blend")
    prefix = "" if blend is None else "draft_blend_" if blend["source"] == "draft" else "blend_"
    ordinary = condition.get("temperature") == 1
    return prefix + ("base" if ordinary else str(condition["sampler"]))


def conditions_of(summary: Mapping[str, Any]) -> dict[str, list[str]]:
    """The study's conditions by role; the first of a role stands for it."""
    roles: dict[str, list[str]] = {}
    for row in summary["overall"]:
        name = row["condition"]
        roles.setdefault(role_of(summary["conditions"][name]), []).append(name)
    return roles


def stand_ins(summary: Mapping[str, Any]) -> str:
    """Which conditions stand for their role, where a role has several."""
    compared = {role for plus, minus, _ in GAINS for role in (plus, minus)}
    several = [
        f"`{names[0]}` of {series(f'`{name}`' for name in names)}"
        for role, names in conditions_of(summary).items()
        if role in compared and len(names) > 1
    ]
    if not several:
        return ""
    return f"Of this study's conditions of one kind the first is taken: {'; '.join(several)}."


def columns(
    summary: Mapping[str, Any], published: Mapping[str, Any]
) -> dict[str, dict[str, float]]:
    """Accuracy by role, for each source and model and, last, for this study."""
    groups: dict[str, dict[str, float]] = {}
    for row in published["results"]:
        label = f"{published['sources'][row['source']]['label']}, {row['model']}"
        groups.setdefault(label, {})[row["role"]] = row["accuracy"]
    shares = {row["condition"]: row["accuracy"] for row in summary["overall"]}
    ours = {role: shares[names[0]] for role, names in conditions_of(summary).items()}
    return groups | {"this study": ours}


def gains(summary: Mapping[str, Any], published: Mapping[str, Any]) -> tuple[list[str], Rows]:
    """Header and rows: differences that at least one column has."""
    groups = columns(summary, published)
    rows = [
        [label, *(_gain(shares, plus, minus) for shares in groups.values())]
        for plus, minus, label in GAINS
        if any({plus, minus} <= shares.keys() for shares in groups.values())
    ]
    return ["Difference", *map(cell, groups)], rows


def _gain(shares: Mapping[str, float], plus: str, minus: str) -> str:
    if not {plus, minus} <= shares.keys():
        return "—"
    change = points(shares[plus] - shares[minus], "")
    return f"{change} ({percent(shares[minus])} → {percent(shares[plus])})"


def settings(
    summary: Mapping[str, Any], published: Mapping[str, Any], config: Mapping[str, Any]
) -> tuple[list[str], Rows]:
    """Header and rows: how the studies were run."""
    sources = [
        (key, source)
        for key, source in published["sources"].items()
        if any(row["source"] == key for row in published["results"])
    ]
    models = {
        key: ", ".join(
            dict.fromkeys(r["model"] for r in published["results"] if r["source"] == key)
        )
        for key, _ in sources
    }
    ours = _own_settings(summary)
    rows = [
        ["model", *(cell(models[key]) for key, _ in sources), cell(config["model"]["name"])],
        ["dataset", *(cell(s["dataset"]) for _, s in sources), cell(config["dataset"]["name"])],
        ["problems", *(str(s["problems"]) for _, s in sources), str(summary["problems"])],
    ]
    rows += [
        [label, *(_value(s["settings"].get(key)) for _, s in sources), _value(ours.get(key))]
        for key, label in SETTINGS.items()
    ]
    return ["", *(cell(s["label"]) for _, s in sources), "this study"], rows


def _own_settings(summary: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of this study's power sampling, listed where conditions differ."""
    found: dict[str, list[Any]] = {}
    for condition in summary["conditions"].values():
        if condition["sampler"] == "power":
            for key, value in {**condition, **(condition.get("blend") or {})}.items():
                if key in SETTINGS and value not in found.setdefault(key, []):
                    found[key].append(value)
    return {key: _listed(values) for key, values in found.items()}


def _listed(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in sorted(values))


def _value(value: Any) -> str:
    if value is None:
        return "—"
    return value if isinstance(value, str) else f"{value:g}"


def comparable(published: Mapping[str, Any], config: Mapping[str, Any]) -> bool:
    """Whether this study's problems are those of the published numbers."""
    datasets = {source["dataset"] for source in published["sources"].values()}
    return config["dataset"]["name"] in datasets
