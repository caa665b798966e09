"""The probe's jobs: everything that a probe measures, and the beta of a matched blend."""

import logging
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from powerblend.blends import Blend, DraftBlend, HiddenBlend, LayerBlend
from powerblend.engine.model import Model
from powerblend.probe.drafted import probed_draft
from powerblend.probe.hidden_states import HARD_PROBABILITY, ProbedDraft, Reading, read
from powerblend.probe.matching import matched_beta, mean_kl
from powerblend.probe.measures import Scores, is_hard, measure, summary
from powerblend.probe.passages import Text
from powerblend.vocabulary.specs import MatchSpec, MeasurementSpec

log = logging.getLogger(__name__)

NORMS = ("none", "final")


def probe(spec: MeasurementSpec, model: Model, text: Text) -> dict[str, Any]:
    """Measure every layer alone, blends of chosen sources over beta, and the study's own blends.

    Returns what `measures.summary` says of each, as plain values: ``final`` is the model itself;
    ``layers`` has a row per decoder block and norm, ``blends`` one per source and beta,
    ``configured`` one per blend of the study; ``draft`` is the draft by block offset, or None.
    """
    draft = probed_draft(model)
    configured = list(spec.blends)
    sources = _sources(spec.layers, configured, draft)
    for blend in (*sources, *configured):
        blend.check(model.num_layers)
    layers = [LayerBlend(layer=k, norm=n, beta=1.0) for k in range(model.num_layers) for n in NORMS]
    plan: dict[str, Sequence[Blend]] = {
        "layers": layers,
        "blends": [s.model_copy(update={"beta": b}) for s in sources for b in spec.betas],
        "configured": configured,
        "draft": [DraftBlend(beta=1.0)] if draft else [],
    }
    reading = read(model, text, range(model.num_layers), draft)
    laws = [blend for part in plan.values() for blend in part]
    log.info("%d laws on %d tokens", len(laws), len(reading.gold))
    own, *rest = measure(model, reading, laws, bar=True)
    found = iter(rest)
    scores = {name: [next(found) for _ in part] for name, part in plan.items()}
    rows = {
        name: [
            {**blend.model_dump(exclude_none=True), **summary(own, scored, reading.sampled)}
            for blend, scored in zip(part, scores[name], strict=True)
        ]
        for name, part in plan.items()
    }
    offsets = [
        by_offset(own, alone, reading, draft.block_size) for alone in scores["draft"] if draft
    ]
    return {
        "over": spec.over.text,
        **text.counts,
        "hard": HARD_PROBABILITY,
        "hard_tokens": int(is_hard(own).sum()),
        "decoder_blocks": model.num_layers,
        "final": summary(own, own, reading.sampled),
        **rows,
        "draft": offsets[0] if offsets else None,
    }


def match(spec: MatchSpec, model: Model, text: Text) -> dict[str, Any]:
    """Find the beta that a spec's blend takes, and measure the blend there.

    Returns the blend with its ``beta``, what it was to match, and `measures.summary`.

    Raises
    ------
    ValueError
        If no beta matches.
    """
    draft = probed_draft(model)
    source, wanted = spec.blend, spec.match_kl
    like = None if isinstance(wanted, float) else wanted
    hidden = [blend for blend in (source, like) if isinstance(blend, HiddenBlend)]
    layers = {layer for blend in hidden for layer in blend.layers_read}
    for blend in filter(None, (source, like)):
        blend.check(model.num_layers)
    reading = read(model, text, sorted(layers), draft)
    kl = wanted if isinstance(wanted, float) else mean_kl(model, reading, wanted)
    beta = matched_beta(model, reading, source, kl)
    blend = source.model_copy(update={"beta": beta})
    own, scores = measure(model, reading, [blend])
    found = summary(own, scores, reading.sampled)
    log.info("beta %g has KL %.5g; asked for was %.5g", beta, found["kl"], kl)
    return {
        **blend.model_dump(exclude_none=True),
        "match_kl": kl,
        "like": None if like is None else like.model_dump(exclude_none=True),
        "over": spec.over.text,
        **text.counts,
        **found,
    }


def by_offset(own: Scores, alone: Scores, reading: Reading, block_size: int) -> dict[str, Any]:
    """The draft's predictions, together and by place in the block; ``agreement`` is of argmax."""

    def row(place: Tensor) -> dict[str, Any]:
        chosen = place & reading.sampled
        part = summary(own, alone, chosen)
        ranks = {key: part[key] for key in ("mean_rank", "median_rank", "log_loss")}
        tokens = int(chosen.sum())
        return {"tokens": tokens, **ranks, "agreement": 1 - part["flips"] if tokens else None}

    rows = [{"offset": k, **row(reading.offset == k)} for k in range(1, block_size)]
    return {"block_size": block_size, **row(reading.offset > 0), "offsets": rows}


def _sources(
    layers: Sequence[int], configured: Sequence[Blend], draft: ProbedDraft | None
) -> list[Blend]:
    """What is blended at each beta: the given layers, the study's own sources, and the draft."""
    asked: list[Blend] = [LayerBlend(layer=k, norm=n, beta=0.0) for k in layers for n in NORMS]
    hidden = [blend for blend in configured if isinstance(blend, HiddenBlend)]
    of_study = [blend.model_copy(update={"beta": 0.0}) for blend in hidden]
    drafts: list[Blend] = [DraftBlend(beta=0.0)] if draft else []
    return list(dict.fromkeys([*asked, *of_study, *drafts]))
