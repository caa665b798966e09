"""Sentences that interpret: each is chosen by the numbers it speaks of, and claims no more.

A contrast's verdict is what its Holm-adjusted p-value may be called: significant, suggestive, or
within noise. Nothing here computes a statistic.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from powerblend.figures.interaction import Quartet, of_quartet, turned
from powerblend.report.text import count, interval, p_value, points, series

Row = Mapping[str, Any]

ENOUGH_POWER = 0.8


def contrast_sentence(row: Row, four: Quartet | None = None) -> str:
    """What a contrast found, in the words that its p-value allows."""
    if row["kind"] == "interaction":
        oriented = of_quartet(row, four)
        return any_interaction(row) if oriented is None else quartet_interaction(oriented)
    plus, minus = named(row["plus"]), named(row["minus"])
    effect = points(row["difference"])
    if row["difference"] == 0:
        return f"{plus} and {minus} give equally many right answers: {effect}, {evidence(row)}."
    if row["verdict"] == "significant":
        better = "more" if row["difference"] > 0 else "less"
        return f"{plus} is {better} accurate than {minus}: {effect}, {evidence(row)}."
    if row["verdict"] == "suggestive":
        above = "above" if row["difference"] > 0 else "below"
        return f"{plus} is {above} {minus}, which is suggestive only: {effect}, {evidence(row)}."
    return f"{plus} and {minus} differ within noise: {effect}, {evidence(row)}."


def quartet_interaction(row: Row) -> str:
    """Whether the blend does more for power sampling than for greedy decoding."""
    effect = f"{points(row['difference'])}, {evidence(row)}"
    more = "more" if row["difference"] > 0 else "less"
    if row["verdict"] == "significant":
        return f"The blend does {more} for power sampling than for greedy decoding: {effect}."
    if row["verdict"] == "suggestive":
        return (
            f"The blend may do {more} for power sampling than for greedy decoding; this is "
            f"suggestive only: {effect}."
        )
    return (
        "Whether the blend does as much for power sampling as for greedy decoding cannot be told: "
        f"the interaction is within noise, {effect}."
    )


def any_interaction(row: Row) -> str:
    """Which of two differences is the larger: (A - B) - (C - D) with plus A, D and minus B, C."""
    (a, d), (b, c) = row["plus"], row["minus"]
    first, second = f"`{a}` − `{b}`", f"`{c}` − `{d}`"
    effect = f"{points(row['difference'])}, {evidence(row)}"
    above = "above" if row["difference"] > 0 else "below"
    if row["verdict"] == "significant":
        return f"The difference {first} is {above} {second}: {effect}."
    if row["verdict"] == "suggestive":
        return f"The difference {first} is {above} {second}, which is suggestive only: {effect}."
    return f"The differences {first} and {second} differ within noise: {effect}."


def additive_sentence(four: Quartet, shares: Mapping[str, float]) -> str:
    """The four accuracies as effects: each alone, their sum, and both together."""
    start = shares[four.greedy]
    alone = shares[four.blend_greedy] - start, shares[four.power] - start
    return (
        f"From greedy decoding, the blend alone makes {points(alone[0])}, power sampling alone "
        f"{points(alone[1])}: {points(sum(alone))} if the two merely added up. Together they make "
        f"{points(shares[four.blend_power] - start)}."
    )


def evidence(row: Row) -> str:
    """Interval and p-values of a contrast."""
    p, holm = p_value(row["p"]), p_value(row["p_holm"])
    adjusted = "" if p == holm else f" ({holm} after Holm's adjustment)"
    bounds = "" if row["low"] is None else f"interval {interval(row['low'], row['high'])}, "
    return f"{bounds}p {p if p.startswith('<') else '= ' + p}{adjusted}"


def named(conditions: Sequence[str] | str) -> str:
    """Conditions as code, whether one or several."""
    names = [conditions] if isinstance(conditions, str) else conditions
    return series(f"`{name}`" for name in names)


def contrasts_sentence(rows: Sequence[Row]) -> str:
    """How many contrasts held up."""
    if not rows:
        return "The study has no declared contrast whose conditions ran."
    by = {v: sum(row["verdict"] == v for row in rows) for v in ("significant", "suggestive")}
    total = count(len(rows), "contrast tested", "contrasts tested")
    if by["significant"]:
        tail = f", and {by['suggestive']} suggestive" if by["suggestive"] else ""
        return f"Of {total}, {by['significant']} came out significant{tail}."
    if by["suggestive"]:
        return f"Of {total}, none came out significant and {by['suggestive']} suggestive."
    return f"Of {total}, none can be told from noise."


def power_sentence(rows: Sequence[Row], problems: int) -> str:
    """Whether the study was large enough for the differences that it saw."""
    powers = [row["power"] for row in rows if row["difference"] and row["power"] is not None]
    if not powers:
        return ""
    chance = f"with a chance of {max(powers):.0%}"
    found = f"the clearest of them at p < 0.05, before adjustment, {chance}."
    if max(powers) < ENOUGH_POWER:
        return (
            f"With {count(problems, 'problem')} the study is small for effects of this size: were "
            f"the observed differences the true ones, a repetition would find {found} What is "
            "within noise is not shown to be nothing."
        )
    return (
        "Were the observed differences the true ones, a repetition with "
        f"{count(problems, 'problem')} would find {found}"
    )


def best_sentence(overall: Sequence[Row], contrasts: Sequence[Row]) -> str:
    """The highest accuracy, and whether anything says that it is more than the luckiest."""
    best = max(overall, key=lambda row: row["accuracy"])
    equal = [row["condition"] for row in overall if row["accuracy"] == best["accuracy"]]
    if len(equal) > 1:
        return f"{named(equal)} share the highest accuracy, {best['accuracy']:.1%}."
    if len(overall) == 1:
        return f"`{best['condition']}`, the only condition, has accuracy {best['accuracy']:.1%}."
    won = [
        row if row["difference"] > 0 else turned(row)
        for row in contrasts
        if row["verdict"] == "significant" and row["kind"] == "difference"
    ]
    beaten = [named(row["minus"]) for row in won if best["condition"] in row["plus"]]
    first = f"`{best['condition']}` has the highest accuracy, {best['accuracy']:.1%}"
    if beaten:
        return f"{first}, and is significantly above {series(beaten)}."
    return (
        f"{first}. No declared contrast sets it significantly above another condition, and the "
        f"highest of {len(overall)} is favoured by luck."
    )


def overlap_sentence(pair: Row, contrasts: Sequence[Row], samples: int) -> str:
    """Gains and losses between two conditions, with the verdict on their contrast if declared.

    A verdict on several samples is not one on the first of them, which is what a pair counts.
    """
    a, b = f"`{pair['a']}`", f"`{pair['b']}`"
    gained, lost = pair["only_b"], pair["only_a"]
    which = "By the first sample of each, " if samples > 1 else ""
    if gained == lost == 0:
        return f"{which}{a} and {b} solve the same problems."
    net = gained - lost
    sign = "+" if net > 0 else "−" if net < 0 else "±"
    counts = (
        f"{which}{b} solves {count(gained, 'problem')} that {a} does not, and misses "
        f"{lost} that it does: a net {sign}{abs(net)}."
    )
    if samples > 1:
        return f"{counts} No test is made of first samples; contrasts (section 4.5) are of all."
    return f"{counts} {_overlap_verdict(pair, contrasts)}"


def _overlap_verdict(pair: Row, contrasts: Sequence[Row]) -> str:
    sides = [pair["a"]], [pair["b"]]
    verdict = next(
        (r["verdict"] for r in contrasts if (r["plus"], r["minus"]) in (sides, sides[::-1])), None
    )
    return {
        "significant": "So uneven an exchange is significant after adjustment (section 4.5).",
        "suggestive": "The unevenness is suggestive, not established (section 4.5).",
        "within noise": "Exchanges as uneven as this are within noise (section 4.5).",
        None: "No contrast of the two was declared, so no test is made of it.",
    }[verdict]


def hard_sentence(difficulty: Row) -> str:
    """What the hard problems show, and why it must not be read as a gain."""
    others = [r for r in difficulty["rows"] if r["condition"] != difficulty["reference"]]
    if not difficulty["hard"] or not others:
        return "There is no hard problem that another condition could solve."
    best = max(others, key=lambda row: row["hard_accuracy"])
    if not best["hard_correct"]:
        return "No other condition solves any of the hard problems."
    equal = [r["condition"] for r in others if r["hard_accuracy"] == best["hard_accuracy"]]
    solve = "solves" if len(equal) == 1 else "each solve"
    return (
        f"Of the hard problems, {named(equal)} {solve} the most: {best['hard_correct']} of "
        f"{best.get('hard_total', difficulty['hard'])} answers, {best['hard_accuracy']:.1%}."
    )


def graders_sentence(overall: Sequence[Row]) -> str:
    """How far the two graders agree."""
    judged = [row for row in overall if row.get("second_correct") is not None]
    if not judged:
        return "No second opinion was asked for."
    answers = sum(row["total"] for row in judged)
    differ = sum(row["disagreements"] for row in judged)
    if differ == 0:
        return f"Among {answers} answers the two graders differ on none."
    widest = max(abs(row["accuracy"] - row["second_accuracy"]) for row in judged)
    return (
        f"The two graders differ on {differ} of {answers} answers ({differ / answers:.1%}); by the "
        f"second, no condition's accuracy would be more than {100 * widest:.1f} points different."
    )


def compute_sentence(overall: Sequence[Row], conditions: Mapping[str, Row]) -> str:
    """What Metropolis-Hastings costs."""
    single = [r["decoded_tokens"] for r in overall if not _moves(r, conditions)]
    moving = [r for r in overall if _moves(r, conditions)]
    if not moving or not single:
        return ""
    cheapest = min(single)
    ratios = [row["decoded_tokens"] / cheapest for row in moving]
    span = f"{min(ratios):.1f}"
    if f"{max(ratios):.1f}" != span:
        span += f" to {max(ratios):.1f}"
    return (
        f"An answer by power sampling takes {span} times the decoded tokens of the cheapest "
        "condition that draws each token once."
    )


def matched_sentence(row: Row) -> str:
    """A chain beside the majority vote that its decoded tokens would buy."""
    chain, other, k = f"`{row['chain']}`", f"`{row['sampling']}`", row["k"]
    drawn = f", of which the study drew {k}" if k < row["bought"] else ""
    bounds = "" if row["low"] is None else f", interval {interval(row['low'], row['high'])}"
    best = f"a majority of {k}" if k > 1 else "one"
    return (
        f"An answer of {chain} pays for {count(row['bought'], 'answer')} of {other}{drawn}: "
        f"{best} is right on {row['majority']:.1%} of the problems, {chain} on "
        f"{row['accuracy']:.1%} ({points(row['difference'])}{bounds})."
    )


def _moves(row: Row, conditions: Mapping[str, Row]) -> bool:
    return conditions.get(row["condition"], {}).get("sampler") == "power"


def draft_sentence(
    contrasts: Sequence[Row], drafts: Sequence[str], four: Quartet | None = None
) -> str:
    """What the declared contrasts say of the draft conditions, a draft first."""
    ours = set(drafts)
    about = [
        row if ours & set(row["plus"]) else turned(row)
        for row in contrasts
        if ours & {*row["plus"], *row["minus"]}
    ]
    if not about:
        return "No contrast with a draft condition was declared, so none is tested."
    return " ".join(contrast_sentence(row, four) for row in about)
