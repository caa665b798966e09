"""A blend beside its controls: what else moves a distribution as far, or spreads it as wide.

Pure selection: a control is a condition whose beta or exponent was matched to the blend of another
condition with the same sampler, and its test is the declared contrast of the two.
"""

from collections.abc import Mapping, Sequence

from powerblend.vocabulary.summary import (
    Condition,
    ContrastResult,
    Control,
    ControlKind,
    ControlledBlend,
    ProbedCondition,
)

KINDS: Mapping[str, ControlKind] = {"random": "noise", "uniform": "temperature"}
"""What a source that knows nothing is a control for; any other is another ``source``."""


def controls(
    probed: Sequence[ProbedCondition],
    conditions: Mapping[str, Condition],
    contrasts: Sequence[ContrastResult],
) -> list[ControlledBlend]:
    """Every condition whose blend others were matched to, with those others."""
    found = []
    for blended in probed:
        same = [other for other in probed if _is_control(other, blended, conditions)]
        if same:
            plain = _plain(blended.condition, conditions)
            found.append(
                ControlledBlend(
                    measured=blended,
                    plain=plain,
                    plain_contrast=_contrast(blended.condition, plain, contrasts),
                    controls=tuple(
                        _control(blended, other, conditions, contrasts) for other in same
                    ),
                )
            )
    return found


def _is_control(
    other: ProbedCondition, blended: ProbedCondition, conditions: Mapping[str, Condition]
) -> bool:
    samplers = [conditions[name.condition].sampler for name in (other, blended)]
    return (
        other.is_matched
        and not blended.is_matched
        and other.like == blended.blend
        and samplers[0] == samplers[1]
    )


def _control(
    blended: ProbedCondition,
    other: ProbedCondition,
    conditions: Mapping[str, Condition],
    contrasts: Sequence[ContrastResult],
) -> Control:
    condition = conditions[other.condition]
    return Control(
        kind=KINDS.get(other.source, "source"),
        matched="kl" if other.match_scale is None else "scale",
        measured=other,
        alpha=condition.alpha if condition.blend is None else None,
        contrast=_contrast(blended.condition, other.condition, contrasts),
    )


def _plain(name: str, conditions: Mapping[str, Condition]) -> str | None:
    """The condition that differs from another in its blend alone, which it lacks."""

    def settings(condition: Condition) -> dict[str, object]:
        return condition.model_dump(exclude={"blend", "description"}, exclude_none=True)

    wanted = settings(conditions[name])
    return next(
        (n for n, how in conditions.items() if how.blend is None and settings(how) == wanted), None
    )


def _contrast(
    plus: str, minus: str | None, contrasts: Sequence[ContrastResult]
) -> ContrastResult | None:
    """The declared contrast of two conditions, if there is one."""
    return next((c for c in contrasts if (c.plus, c.minus) == ((plus,), (minus,))), None)
