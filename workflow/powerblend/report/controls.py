"""The section about controls: whether a blend does what nothing else of its size does.

Nothing here computes a statistic; what a contrast may be called is its verdict's to say.
"""

from collections.abc import Sequence

from powerblend.analysis.probe import source_label
from powerblend.report.contrasts import margin
from powerblend.report.text import (
    escaped,
    interval,
    named,
    number,
    p_value,
    percent,
    points,
    table,
)
from powerblend.vocabulary.summary import (
    ContrastResult,
    ControlledBlend,
    ProbedCondition,
    Summary,
)

MATCHED = {"kl": "KL", "scale": "scale"}


def controls_table(blend: ControlledBlend, summary: Summary) -> str:
    """The blend, then what it is compared with, each with its size and its accuracy."""
    shares = summary.accuracies()
    first = blend.measured
    header = ["Condition", "What", "Same", "KL", "Flips", "Scale", "Accuracy"]
    header += [f"`{first.condition}` less it", "Interval", "Holm p", "Holm p, equal", "Verdict"]
    rows = [[f"`{first.condition}`", _what(first), "—", *_size(first)]]
    rows[0] += [percent(shares[first.condition]), *["—"] * 5]
    if blend.plain is not None:
        rows.append([f"`{blend.plain}`", "no blend", "—", *["—"] * 3])
        rows[-1] += [percent(shares[blend.plain]), *_test(blend.plain_contrast)]
    for control in blend.controls:
        name = control.measured.condition
        what = _what(control.measured) if control.alpha is None else f"α = {control.alpha:g}"
        rows.append([f"`{name}`", what, MATCHED[control.matched], *_size(control.measured)])
        rows[-1] += [percent(shares[name]), *_test(control.contrast)]
    return table(header, rows, names=3)


def _what(measured: ProbedCondition) -> str:
    return f"{escaped(source_label(measured))}, β = {measured.beta:g}"


def _size(measured: ProbedCondition) -> list[str]:
    return [f"{measured.kl:.2g}", percent(measured.flips), number(measured.scale, 2)]


def _test(contrast: ContrastResult | None) -> list[str]:
    if contrast is None:
        return ["not declared", *["—"] * 4]
    return [
        points(contrast.difference),
        interval(contrast.low, contrast.high),
        p_value(contrast.p_holm),
        p_value(contrast.p_equivalence_holm),
        contrast.verdict,
    ]


def verdict_sentence(blend: ControlledBlend) -> str:
    """Whether the blend does anything that noise or another temperature of its size does not."""
    name = f"`{blend.measured.condition}`"
    tests = ignorant(blend)
    if not tests:
        return f"No contrast of {name} with noise or a temperature is declared: nothing is tested."
    better = [test for test in tests if _is(test, "significant") and test.difference > 0]
    equal = [test for test in tests if _is(test, "equivalent")]
    worse = [test for test in tests if _is(test, "significant") and test.difference < 0]
    what = "anything that noise or a lower temperature of the same size does not"
    if len(better) == len(tests):
        return (
            f"{name} does something that neither noise nor a lower temperature of the same size "
            f"does: it is more accurate than {_minus(better)}."
        )
    if len(equal) == len(tests):
        return (
            f"{name} does what noise and a lower temperature of the same size do: within "
            f"{margin(tests[0])} it equals {_minus(equal)}."
        )
    text = f"Nothing here shows that {name} does {what}: "
    if better:
        rest = [test for test in tests if test not in better]
        text = f"That {name} does {what} is not shown: more accurate than {_minus(better)}, "
        return f"{text}it is not told to be so from {_minus(rest)}.{_detectable(rest)}"
    parts = [
        f"it is less accurate than {_minus(worse)}" if worse else "",
        f"it equals {_minus(equal)} within {margin(equal[0])}" if equal else "",
        _open([test for test in tests if test not in (*worse, *equal)]),
    ]
    return text + "; ".join(filter(None, parts)) + "." + _detectable(tests)


def sources_sentence(blend: ControlledBlend) -> str:
    """Whether it matters which source is blended in, at the same size."""
    name = f"`{blend.measured.condition}`"
    tests = [c.contrast for c in blend.controls if c.kind == "source" and c.contrast is not None]
    if not tests:
        return ""
    apart = [test for test in tests if _is(test, "significant")]
    equal = [test for test in tests if _is(test, "equivalent")]
    if apart:
        ways = [
            f"{'more' if test.difference > 0 else 'less'} accurate than {_minus([test])}"
            for test in apart
        ]
        return f"Beside other sources of the same size, {name} is {', '.join(ways)}."
    if len(equal) == len(tests):
        return (
            f"Within {margin(equal[0])} it equals other sources of the same size: {_minus(equal)}."
        )
    return f"Beside other sources of the same size, {_minus(tests)}, it is not told apart either."


def ignorant(blend: ControlledBlend) -> list[ContrastResult]:
    """The contrasts with what knows nothing of the problem: noise, other temperatures, no blend.

    A temperature changes nothing of greedy decoding, so there no blend is another temperature.
    """
    tests = [c.contrast for c in blend.controls if c.kind != "source"]
    return [test for test in (blend.plain_contrast, *tests) if test is not None]


def _is(test: ContrastResult, verdict: str) -> bool:
    return test.verdict == verdict


def _minus(tests: Sequence[ContrastResult]) -> str:
    return named([test.minus[0] for test in tests])


def _open(tests: Sequence[ContrastResult]) -> str:
    if not tests:
        return ""
    return f"{_minus(tests)} can neither be told from it nor be called equal to it"


def _detectable(tests: Sequence[ContrastResult]) -> str:
    """How large a difference would have been found."""
    found = [test.detectable for test in tests if test.detectable is not None]
    if not found:
        return ""
    span = dict.fromkeys(number(100 * f(found)) for f in (min, max))
    return (
        f" A difference of {' to '.join(span)} points would have been found with a chance of 80%, "
        "before adjustment."
    )
