"""What follows from a run as a whole: its limitations, its findings, what to do next."""

from collections.abc import Mapping, Sequence
from typing import Any

from powerblend.figures.interaction import Quartet, of_quartet, quartet
from powerblend.figures.sweep import not_swept
from powerblend.report.phrases import named
from powerblend.report.text import cell, count, percent, points

Summary = Mapping[str, Any]

PAPER_STEPS = 10
"""Moves per block in the Power Sampling paper."""

RARE = 0.01


def limitations(summary: Summary, config: Mapping[str, Any]) -> list[str]:
    """What a reader must hold against the numbers, from the numbers."""
    candidates = [
        _size(summary),
        _samples(summary, config),
        _steps(summary),
        _truncated(summary),
        _unboxed(summary),
        _published_mh(summary),
        _one_setting(summary),
        f"**One model and one problem set**: {cell(config['model']['name'])} on "
        f"{cell(config['dataset']['name'])}. Nothing here speaks of others.",
    ]
    return [text for text in candidates if text]


def _size(summary: Summary) -> str:
    widest = max((row["high"] - row["low"]) / 2 for row in summary["overall"])
    return (
        f"**Size**: {count(summary['problems'], 'problem')}. An accuracy is known to about "
        f"±{100 * widest:.0f} points, and one problem weighs {100 / summary['problems']:.1f}."
    )


def _samples(summary: Summary, config: Mapping[str, Any]) -> str:
    seed = f"one seed ({config['seed']})"
    if summary["samples"] == 1:
        return (
            f"**One sample, {seed}**: each condition gave one answer per problem, so the variation "
            "of a condition's own draws is not seen apart from that of the problems."
        )
    return f"**{summary['samples']} samples per problem from {seed}.**"


def powers(summary: Summary) -> dict[str, Mapping[str, Any]]:
    """The conditions that run a chain."""
    conditions = summary["conditions"]
    return {name: how for name, how in conditions.items() if how.get("sampler") == "power"}


def _steps(summary: Summary) -> str:
    chains = powers(summary).values()
    steps = sorted({how["steps"] for how in chains})
    if not steps or steps[0] >= PAPER_STEPS:
        return ""
    listed = " or ".join(map(str, steps))
    exact = all(how["mh"] == "exact" for how in chains)
    leaves = "The kernel leaves its target invariant, but a" if exact else "A"
    return (
        f"**Short chains**: {listed} moves per block, where the paper made {PAPER_STEPS}. "
        f"{leaves} chain this short may be far from its stationary law."
    )


def _truncated(summary: Summary) -> str:
    worst = max(summary["overall"], key=lambda row: row["truncated"])
    if worst["truncated"] < RARE:
        return ""
    return (
        f"**Truncation**: up to {percent(worst['truncated'])} of a condition's answers "
        f"(`{worst['condition']}`) reached the longest length without ending. One that was cut off "
        "before its box is counted wrong, whatever it would have become."
    )


def _unboxed(summary: Summary) -> str:
    worst = max(summary["overall"], key=lambda row: row["unboxed"])
    if worst["unboxed"] < RARE:
        return ""
    return (
        f"**Missing answers**: up to {percent(worst['unboxed'])} (`{worst['condition']}`) have no "
        "answer to grade and are counted wrong."
    )


def _published_mh(summary: Summary) -> str:
    names = [name for name, how in powers(summary).items() if how.get("mh") == "published"]
    if not names:
        return ""
    return (
        f"**Acceptance of the published code** in {named(names)}: it is not exact, and its chain "
        "does not converge to p^α."
    )


def _one_setting(summary: Summary) -> str:
    single = not_swept(summary)
    if not single:
        return ""
    were = "was" if len(single) == 1 else "were"
    return (
        f"**One setting**: {' and '.join(single)} {were} not swept, so nothing is said of other "
        "values, nor that this is the best."
    )


def findings(summary: Summary) -> list[tuple[str, str, str]]:
    """Finding, evidence and verdict, a row per declared contrast."""
    shares = {row["condition"]: row["accuracy"] for row in summary["overall"]}
    four = quartet(summary)
    return [
        _interaction(row, four) if row["kind"] == "interaction" else _difference(row, shares)
        for row in summary["contrasts"]
    ]


def _difference(row: Mapping[str, Any], shares: Mapping[str, float]) -> tuple[str, str, str]:
    [plus], [minus] = row["plus"], row["minus"]
    words = {"significant": "differs from", "suggestive": "may differ from"}
    if row["difference"] and row["verdict"] == "significant":
        words["significant"] = "beats" if row["difference"] > 0 else "is worse than"
    verb = words.get(row["verdict"], "is not told from")
    evidence = f"{percent(shares[plus])} against {percent(shares[minus])}"
    gain = points(row["difference"])
    relative = points(row["difference"] / shares[minus], "%") if shares[minus] else "—"
    return f"`{plus}` {verb} `{minus}`", f"{evidence}: {gain}, {relative} relative", row["verdict"]


def _interaction(row: Mapping[str, Any], four: Quartet | None) -> tuple[str, str, str]:
    oriented = of_quartet(row, four)
    found = _of_any(row) if oriented is None else _of_quartet(oriented)
    return found, points((oriented or row)["difference"]), row["verdict"]


def _of_quartet(row: Mapping[str, Any]) -> str:
    if row["verdict"] == "within noise":
        return "Blend and power sampling: no interaction told from noise"
    more = "more" if row["difference"] > 0 else "less"
    verb = "gain" if row["verdict"] == "significant" else "may gain"
    return f"Blend and power sampling together {verb} {more} than the sum of each alone"


def _of_any(row: Mapping[str, Any]) -> str:
    (a, d), (b, c) = row["plus"], row["minus"]
    above = "above" if row["difference"] > 0 else "below"
    verbs = {"significant": f"is {above}", "suggestive": f"may be {above}"}
    return f"`{a}` − `{b}` {verbs.get(row['verdict'], 'is not told from')} `{c}` − `{d}`"


def conclusion(summary: Summary) -> str:
    """The study's question, answered as far as its interaction and its main contrast allow."""
    rows = summary["contrasts"]
    verdicts = {row["verdict"] for row in rows}
    if not rows:
        return "No contrast was tested, so this run concludes nothing about the method."
    if "significant" in verdicts:
        return (
            "What is marked significant below holds after adjustment for all contrasts tested, "
            "for this model and these problems; the rest is open."
        )
    if "suggestive" in verdicts:
        return (
            "Nothing below is established. What is suggestive is worth a larger run, and is no "
            "basis for choosing a method."
        )
    return (
        "On these problems, this run tells none of the methods that it compared from another. That "
        "is no proof that they are alike: see the intervals."
    )


def next_steps(summary: Summary, config: Mapping[str, Any]) -> list[str]:
    """What would make the study say more, without what it did already."""
    steps = {how["steps"] for how in powers(summary).values()}
    single = not_swept(summary)
    shards = config["shards"]
    whole = len(_indices(shards["use"])) >= shards["of"]
    candidates = [
        (not whole, f"All shards: this run used {_named(shards['use'])} of {shards['of']}."),
        (summary["samples"] == 1, "Several samples per problem, for majority vote and best-of-k."),
        (bool(steps) and max(steps) < PAPER_STEPS, f"{PAPER_STEPS} moves per block, as the paper."),
        (bool(single), f"A sweep of {' and '.join(single)}."),
        (True, "Other models and problem sets."),
    ]
    return [text for wanted, text in candidates if wanted]


def _named(use: str | Sequence[int]) -> str:
    return cell(use if isinstance(use, str) else ", ".join(map(str, use)))


def _indices(use: str | Sequence[int]) -> Sequence[int]:
    if isinstance(use, str):
        first, _, last = use.partition("-")
        return range(int(first), int(last or first) + 1)
    return use
