"""The conditions of a study in words: what each draws from, how, and at what cost."""

from collections.abc import Mapping
from typing import Any

from powerblend.graders import parse_grader
from powerblend.report.text import number

Condition = Mapping[str, Any]


def base_law(condition: Condition) -> str:
    """What is drawn from."""
    return "p" if condition.get("blend") is None else "p_guided"


def blend(condition: Condition) -> str:
    """Where the blend comes from."""
    mixed = condition.get("blend")
    if mixed is None:
        return "—"
    source = f"{mixed['source']} {mixed['layer']}" if "layer" in mixed else mixed["source"]
    norm = f", norm {mixed['norm']}" if "norm" in mixed else ""
    return f"{source}, β = {mixed['beta']:g}{norm}"


def sampling(condition: Condition) -> str:
    """How it is drawn."""
    law, sampler = base_law(condition), condition["sampler"]
    if sampler == "power":
        return f"Metropolis–Hastings towards {law}^α, α = {condition['alpha']:g}"
    if sampler == "temperature":
        return f"a draw per token at T = {condition['temperature']:g}"
    return f"argmax {law}" if sampler == "greedy" else str(sampler)


def chain(condition: Condition) -> str:
    """The chain, if there is one."""
    if condition["sampler"] != "power":
        return "no"
    source = "p" if condition["proposal"] == "base" else "the target"
    return (
        f"{condition['steps']} moves × {condition['blocks']} blocks, acceptance "
        f"`{condition['mh']}`, proposals from {source}"
    )


def grading(config: Mapping[str, Any]) -> str:
    """How the study's completions are judged."""
    return parse_grader(config.get("grading", {"grader": "math"})).method


def condition_rows(conditions: Mapping[str, Condition]) -> list[list[str]]:
    """Name, base distribution, sampling, chain and blend of every condition."""
    return [
        [f"`{name}`", base_law(how), sampling(how), chain(how), blend(how)]
        for name, how in conditions.items()
    ]


def component_rows(summary: Mapping[str, Any]) -> list[list[str]]:
    """What every condition is made of, and the positions decoded per token of its answers."""
    conditions = summary["conditions"]
    rows = []
    for row in summary["overall"]:
        how = conditions[row["condition"]]
        cost = row["decoded_tokens"] / row["tokens"] if row["tokens"] else None
        draft = (how.get("blend") or {}).get("source") == "draft"
        extra = "those of the draft" if draft else "0"
        rows.append([f"`{row['condition']}`", base_law(how), sampling(how), number(cost, 2), extra])
    return rows
