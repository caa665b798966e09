"""What the probe comes to: the blends of the conditions, a layer to try, and betas of equal KL."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from powerblend.vocabulary.measurements import (
    BlendSettings,
    MatchedBlend,
    MeasuredBlend,
    ProbeMeasurements,
)
from powerblend.vocabulary.published import PublishedProbe
from powerblend.vocabulary.summary import (
    Condition,
    EqualBeta,
    Perturbation,
    ProbedCondition,
    ProbeSummary,
)

Source = tuple[str, int | None, str | None]
"""What is blended in, whatever its beta: source, layer and norm."""


def probed(
    measured: ProbeMeasurements | None,
    conditions: Mapping[str, Condition],
    matched: Mapping[str, MatchedBlend],
) -> ProbeSummary:
    """The report's numbers of the probe.

    Parameters
    ----------
    measured
        What the probe measured; None where it is disabled.
    conditions
        The study's conditions, each with its beta.
    matched
        What was measured of the conditions whose beta was searched for.
    """
    found = tuple(_probed_conditions(measured, conditions, matched))
    if measured is None:
        return ProbeSummary(conditions=found)
    return ProbeSummary(
        measured=measured,
        conditions=found,
        suggested=suggested(measured),
        equal=tuple(equal_betas(measured.blends, found)),
    )


def suggested(measured: ProbeMeasurements) -> MeasuredBlend | None:
    """The layer before the last with the best median rank; of equals, the best mean rank."""
    last = measured.decoder_blocks - 1
    others = [layer for layer in measured.layers if layer.layer != last]
    return min(others, key=lambda layer: (layer.median_rank, layer.mean_rank), default=None)


def equal_betas(
    blends: Sequence[MeasuredBlend], conditions: Sequence[ProbedCondition]
) -> list[EqualBeta]:
    """For each blend whose beta was given, the beta of every other source that has its KL.

    ``beta`` is None where the KL is above that of the source's largest measured beta.
    """
    curves: dict[Source, list[MeasuredBlend]] = {}
    for blend in blends:
        curves.setdefault(source_of(blend), []).append(blend)
    given: dict[tuple[Source, float], ProbedCondition] = {}
    for condition in conditions:
        if not condition.is_matched:
            given.setdefault((source_of(condition), condition.beta), condition)
    return [
        EqualBeta(
            condition=condition.condition,
            kl=condition.kl,
            source=source[0],
            layer=source[1],
            norm=source[2],
            beta=beta_at(condition.kl, [(point.beta, point.kl) for point in curve]),
        )
        for condition in given.values()
        for source, curve in curves.items()
        if source != source_of(condition)
    ]


def beta_at(kl: float, curve: Sequence[tuple[float, float]]) -> float | None:
    """The positive beta with a KL, from pairs of beta and KL of one source.

    Between measured betas log KL is nearly linear in log beta, so it is interpolated; below the
    smallest of them it is extrapolated, KL being as beta^2 there.
    """
    points = sorted((beta, kl_there) for beta, kl_there in curve if beta > 0 and kl_there > 0)
    if not points or kl <= 0 or kl > points[-1][1]:
        return None
    betas, kls = np.log(np.array(points).T)
    if np.log(kl) < kls[0]:
        return float(np.exp(betas[0] + (np.log(kl) - kls[0]) / 2))
    return float(np.exp(np.interp(np.log(kl), kls, betas)))


def source_of(blend: BlendSettings) -> Source:
    """What a blend mixes in, whatever its beta."""
    return blend.source, blend.layer, blend.norm


def source_label(blend: BlendSettings | EqualBeta) -> str:
    """What a blend's logits come from: ``layer 27, norm none``, or ``draft``."""
    if blend.layer is None:
        return blend.source
    return f"{blend.source} {blend.layer}, norm {blend.norm}"


def layers_to_show(
    measured: ProbeMeasurements, suggested: MeasuredBlend | None
) -> list[MeasuredBlend]:
    """The layers that a reader asks for first: those blended, the suggested one, first and last."""
    last = measured.decoder_blocks - 1
    wanted = {0, last - 1, last} | {blend.layer for blend in all_blends(measured)}
    if suggested is not None:
        wanted.add(suggested.layer)
    return [layer for layer in measured.layers if layer.layer in wanted]


def all_blends(measured: ProbeMeasurements) -> tuple[MeasuredBlend, ...]:
    """The blends over beta, then the study's own."""
    return measured.blends + measured.configured


def best_on_hard_tokens(measured: ProbeMeasurements) -> list[MeasuredBlend]:
    """The blends that rank the most hard tokens better than the model does; none if none does."""
    shares = [blend.hard_better or 0.0 for blend in measured.blends]
    highest = max(shares, default=0.0)
    return [blend for blend in measured.blends if highest and blend.hard_better == highest]


def same_blend(published: PublishedProbe, measured: ProbeMeasurements) -> MeasuredBlend | None:
    """The blend that others measured, as this study measured it."""
    wanted = published.blend
    return next(
        (
            blend
            for blend in all_blends(measured)
            if (blend.layer, blend.norm) == (wanted.layer, published.norm)
            and blend.beta == wanted.beta
        ),
        None,
    )


def _probed_conditions(
    measured: ProbeMeasurements | None,
    conditions: Mapping[str, Condition],
    matched: Mapping[str, MatchedBlend],
) -> Iterator[ProbedCondition]:
    configured = measured.configured if measured else ()
    for name, condition in conditions.items():
        if condition.blend is None and name not in matched:
            continue
        found = matched.get(name) or next(
            (row for row in configured if row.blend == condition.blend), None
        )
        if found is not None:
            own = _perturbation_on_own(measured, found)
            yield ProbedCondition(condition=name, own=own, **found.model_dump())


def _perturbation_on_own(
    measured: ProbeMeasurements | None, found: MeasuredBlend
) -> Perturbation | None:
    """What a blend does to the distribution on the model's own answers, if that was measured."""
    rows = measured.own.blends if measured and measured.own else ()
    same = next((row for row in rows if row.blend == found.blend), None)
    return Perturbation(kl=same.kl, flips=same.flips, scale=same.scale) if same else None
