"""The probe's jobs: everything that a probe measures, and the beta of a matched blend."""

import logging
from collections.abc import Sequence
from typing import Literal

from torch import Tensor

from powerblend.blends import Blend, DraftBlend, HiddenBlend, LayerBlend
from powerblend.engine.model import Model
from powerblend.probe.drafted import probed_draft
from powerblend.probe.hidden_states import HARD_PROBABILITY, ProbedDraft, Reading, read
from powerblend.probe.matching import matched_beta, mean_of, scaled_beta
from powerblend.probe.measures import Scores, is_hard, measure, summary
from powerblend.probe.passages import Text
from powerblend.vocabulary.measurements import (
    DraftMeasurements,
    DraftPredictions,
    MatchedBlend,
    MeasuredBlend,
    NextTokenMeasures,
    OffsetPredictions,
    OwnAnswers,
    ProbeMeasurements,
)
from powerblend.vocabulary.specs import MatchSpec, MeasurementSpec

log = logging.getLogger(__name__)

NORMS: tuple[Literal["none", "final"], ...] = ("none", "final")


def probe(
    spec: MeasurementSpec,
    model: Model,
    text: Text,
    own_text: Text | None = None,
    matched: Sequence[Blend] = (),
) -> ProbeMeasurements:
    """Measure every layer alone, blends of chosen sources over beta, and the study's own blends.

    These, and the ``matched`` ones, are measured on ``own_text`` too, the model's own answers.
    """
    draft = probed_draft(model)
    configured = list(spec.blends)
    sources = _sources(spec.layers, configured, draft)
    for blend in (*sources, *configured):
        blend.check(model.num_layers)
    plan: dict[str, Sequence[Blend]] = {
        "layers": [_alone(layer, norm) for layer in range(model.num_layers) for norm in NORMS],
        "blends": [s.model_copy(update={"beta": b}) for s in sources for b in spec.betas],
        "configured": configured,
        "draft": [DraftBlend(beta=1.0)] if draft else [],
    }
    blends = [blend for part in plan.values() for blend in part]
    reading = read(model, text, _layers_read(blends), draft)
    log.info("%d distributions on %d tokens", len(blends), len(reading.gold))
    own, *rest = measure(model, reading, blends)
    found = iter(rest)
    scores = {name: [next(found) for _ in part] for name, part in plan.items()}
    measured = {
        name: [
            _measured(blend, summary(own, of_blend, reading.sampled))
            for blend, of_blend in zip(plan[name], scores[name], strict=True)
        ]
        for name in ("layers", "blends", "configured")
    }
    return ProbeMeasurements.model_validate(
        {
            "over": spec.over.text,
            **text.counts,
            "hard": HARD_PROBABILITY,
            "hard_tokens": int(is_hard(own).sum()),
            "decoder_blocks": model.num_layers,
            "final": summary(own, own, reading.sampled),
            **measured,
            "draft": _by_offset(own, scores["draft"][0], reading, draft) if draft else None,
            "own": _on_own(model, own_text, [*configured, *matched], draft) if own_text else None,
        }
    )


def match(spec: MatchSpec, model: Model, text: Text) -> MatchedBlend:
    """Find the beta that a spec's blend takes, and measure the blend there.

    Raises
    ------
    ValueError
        If no beta matches.
    """
    draft = probed_draft(model)
    source, wanted = spec.blend, spec.target
    like = None if isinstance(wanted, float) else wanted
    hidden = [blend for blend in (source, like) if isinstance(blend, HiddenBlend)]
    layers = {layer for blend in hidden for layer in blend.layers_read}
    for blend in filter(None, (source, like)):
        blend.check(model.num_layers)
    reading = read(model, text, sorted(layers), draft)
    target = wanted if isinstance(wanted, float) else mean_of(spec.measure, model, reading, wanted)
    find = matched_beta if spec.measure == "kl" else scaled_beta
    beta = find(model, reading, source, target)
    blend = source.model_copy(update={"beta": beta})
    own, scores = measure(model, reading, [blend])
    found = _measured(blend, summary(own, scores, reading.sampled))
    log.info(
        *("beta %g has %s %.5g; asked for was %.5g", beta, spec.measure),
        *(getattr(found, spec.measure), target),
    )
    return MatchedBlend.model_validate(
        {
            **found.model_dump(),
            f"match_{spec.measure}": target,
            "like": None if like is None else like.model_dump(mode="json", exclude_none=True),
            "over": spec.over.text,
            **text.counts,
        }
    )


def _on_own(
    model: Model, text: Text, blends: Sequence[Blend], draft: ProbedDraft | None
) -> OwnAnswers:
    """The blends on the answers that the model gives itself."""
    reading = read(model, text, _layers_read(blends), draft)
    own, *scores = measure(model, reading, blends)
    measured = [
        _measured(blend, summary(own, of_blend, reading.sampled))
        for blend, of_blend in zip(blends, scores, strict=True)
    ]
    return OwnAnswers(**text.counts, blends=tuple(measured))


def _layers_read(blends: Sequence[Blend]) -> list[int]:
    """The decoder layers whose outputs some of the blends read."""
    hidden = [blend for blend in blends if isinstance(blend, HiddenBlend)]
    return sorted({layer for blend in hidden for layer in blend.layers_read})


def _by_offset(
    own: Scores, alone: Scores, reading: Reading, draft: ProbedDraft
) -> DraftMeasurements:
    """The draft's predictions, together and by place in the block."""
    offsets = [
        OffsetPredictions(
            offset=offset, **dict(_predictions(own, alone, reading, reading.offset == offset))
        )
        for offset in range(1, draft.block_size)
    ]
    together = _predictions(own, alone, reading, reading.offset > 0)
    return DraftMeasurements(block_size=draft.block_size, **dict(together), offsets=tuple(offsets))


def _predictions(own: Scores, alone: Scores, reading: Reading, place: Tensor) -> DraftPredictions:
    """What the draft alone predicts of the sampled tokens at some places."""
    chosen = place & reading.sampled
    tokens = int(chosen.sum())
    if not tokens:
        nothing = dict.fromkeys(("mean_rank", "median_rank", "log_loss", "agreement"))
        return DraftPredictions(tokens=0, **nothing)
    found = summary(own, alone, chosen)
    return DraftPredictions(
        tokens=tokens,
        mean_rank=found.mean_rank,
        median_rank=found.median_rank,
        log_loss=found.log_loss,
        agreement=1 - found.flips,
    )


def _alone(layer: int, norm: Literal["none", "final"]) -> Blend:
    return LayerBlend(layer=layer, norm=norm, beta=1.0)


def _measured(blend: Blend, measures: NextTokenMeasures) -> MeasuredBlend:
    settings = blend.model_dump(mode="json", exclude_none=True)
    return MeasuredBlend.model_validate({**settings, **dict(measures)})


def _sources(
    layers: Sequence[int], configured: Sequence[Blend], draft: ProbedDraft | None
) -> list[Blend]:
    """What is blended at each beta: the given layers, the study's own sources, and the draft."""
    asked: list[Blend] = [LayerBlend(layer=k, norm=n, beta=0.0) for k in layers for n in NORMS]
    hidden = [blend for blend in configured if isinstance(blend, HiddenBlend)]
    of_study = [blend.model_copy(update={"beta": 0.0}) for blend in hidden]
    drafts: list[Blend] = [DraftBlend(beta=0.0)] if draft else []
    return list(dict.fromkeys([*asked, *of_study, *drafts]))
