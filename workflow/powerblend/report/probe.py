"""The probe in tables and words: what layers know, and how far blends move a distribution."""

from collections.abc import Sequence

from powerblend.analysis.probe import (
    best_on_hard_tokens,
    layers_to_show,
    same_blend,
    source_label,
)
from powerblend.analysis.small_numbers import is_small
from powerblend.report.text import count, escaped, number, percent, table
from powerblend.study.schema import Study
from powerblend.vocabulary.measurements import (
    BlendSettings,
    DraftMeasurements,
    MeasuredBlend,
    NextTokenMeasures,
    ProbeMeasurements,
)
from powerblend.vocabulary.published import PublishedBlend, PublishedProbe, PublishedRanks
from powerblend.vocabulary.summary import EqualBeta, ProbedCondition

SAME_SCALE = 0.05
"""A blend whose logits spread wider or narrower by less than this share keeps their scale."""


def text_sentence(measured: ProbeMeasurements) -> str:
    """What was read, and what it can tell."""
    tokens = f"{measured.tokens:,} of {measured.of_tokens:,} tokens"
    problems = count(measured.problems, "problem")
    if measured.over == "greedy":
        return (
            f"The probe looked at {tokens} of the model's own greedy answers to {problems}. Such a "
            "token is the model's most likely one by construction, so the final layer's ranks are "
            "1, hardly a token is hard, and nothing can be ranked better: what says something here "
            "are the ranks of other layers, KL and flips."
        )
    return (
        f"The probe looked at {tokens} of the solutions of {problems}, drawn at random, and at all "
        f"{measured.hard_tokens} *hard* ones, to which the model gives less than "
        f"{measured.hard:.0%}. These are the study's own problems: a layer or a β chosen by "
        "these numbers has been chosen on the problems that it is then tested on."
    )


def layers_table(measured: ProbeMeasurements, suggested: MeasuredBlend | None) -> str:
    """The layers that a reader asks for first, and the model's own distribution."""
    header = ["Layer", "Norm", "Mean rank", "Median rank", "Log-loss", "Better than the model"]
    rows = [
        [str(layer.layer), str(layer.norm), *_ranks(layer)]
        for layer in layers_to_show(measured, suggested)
    ]
    final = ["**final**", "", *_ranks(measured.final)]
    return table([*header, "Same most likely token", "Scale"], [*rows, final], 2)


def _ranks(measures: NextTokenMeasures) -> list[str]:
    return [
        _rank(measures.mean_rank),
        _rank(measures.median_rank),
        number(measures.log_loss, 2),
        percent(measures.better),
        percent(1 - measures.flips),
        number(measures.scale, 2),
    ]


def _rank(rank: float | None) -> str:
    """A rank; tenths matter only near 1."""
    return f"{rank:,.0f}" if rank is not None and rank >= 100 else number(rank)


def suggested_sentence(suggested: MeasuredBlend | None, measured: ProbeMeasurements) -> str:
    """The layer whose ranks are best, and what that does not show."""
    if suggested is None:
        return "The model has no layer before its last."
    state = "after the final norm" if suggested.norm == "final" else "as it is"
    final = measured.final
    text = (
        f"Of the layers before the last, block {suggested.layer} {state} ranks the tokens best: "
        f"median {_rank(suggested.median_rank)}, mean {_rank(suggested.mean_rank)}, where "
        f"the model itself has {number(final.median_rank)} and {number(final.mean_rank)}. It "
        f"ranks {percent(suggested.better)} of them better than the model does."
    )
    if suggested.layer is not None and measured.decoder_blocks - suggested.layer <= 3:
        text += (
            " It is close to the end, where a layer ranks well because it nearly is the last one: "
            "good ranks say that it may be blended in safely, not that it knows something else."
        )
    return text


def hard_tokens_sentence(measured: ProbeMeasurements) -> str:
    """Whether any blend helps where the model is wrong, and at what price elsewhere."""
    hard, blends = measured.hard_tokens, measured.blends
    if not hard or not blends:
        return "No token is hard, so whether a blend helps on such tokens is not seen."
    best = best_on_hard_tokens(measured)
    if not best:
        return f"None of the blends ranks any of the {count(hard, 'hard token')} better."
    losses = dict.fromkeys(number(f(blend.log_loss for blend in best), 3) for f in (min, max))
    which = (
        f"{blend_label(best[0])} ranks the most hard tokens better than the model does"
        if len(best) == 1
        else f"{len(best)} rank equally many hard tokens better than the model does, the most"
    )
    text = (
        f"Of the {len(blends)} blends measured, {which}: {percent(best[0].hard_better)} of {hard}. "
        f"On all tokens the log-loss changes from {number(measured.final.log_loss, 3)} to "
        f"{' – '.join(losses)}."
    )
    text += (
        " Hard tokens are chosen by the model's own low probability, some of it chance: a source "
        "that only errs differently, regressing to the mean, ranks many of them better, and as "
        "many of the other tokens worse. The share better is no evidence of knowledge until that "
        "is counted against it, which is what the log-loss on all tokens does."
    )
    if is_small(hard):
        return f"{text} With {count(hard, 'hard token')}, nothing follows from it."
    return f"{text} The best of so many is favoured by luck."


def blend_label(blend: BlendSettings) -> str:
    """A source with its beta."""
    return f"{escaped(source_label(blend))}, β = {blend.beta:g}"


def perturbation_table(conditions: Sequence[ProbedCondition]) -> str:
    """How far each condition's blend moves the distribution of a token, on either text."""
    beside = any(probed.own for probed in conditions)
    header = ["Condition", "Blend"]
    for name in ("KL(p ‖ p_guided)", "Argmax flips", "Scale"):
        header += [name, *(["on own answers"] if beside else [])]
    rows = [
        [
            f"`{probed.condition}`",
            blend_label(probed),
            *_perturbation(probed, beside),
            percent(probed.better),
            percent(probed.hard_better),
        ]
        for probed in conditions
    ]
    return table([*header, "Better, all tokens", "Better, hard tokens"], rows, 2)


def _perturbation(probed: ProbedCondition, beside: bool) -> list[str]:
    own = probed.own
    pairs = [
        (f"{probed.kl:.2g}", f"{own.kl:.2g}" if own else "—"),
        (percent(probed.flips), percent(own.flips if own else None)),
        (number(probed.scale, 2), number(own.scale if own else None, 2)),
    ]
    return [value for pair in pairs for value in pair[: 1 + beside]]


def own_sentence(measured: ProbeMeasurements | None, conditions: Sequence[ProbedCondition]) -> str:
    """How a blend's KL where chains are compares with that on solutions."""
    read = measured and measured.own
    ratios = [probed.own.kl / probed.kl for probed in conditions if probed.own and probed.kl]
    if not read or not ratios:
        return ""
    span = " to ".join(dict.fromkeys(f"{ratio:.2g}" for ratio in (min(ratios), max(ratios))))
    return (
        f"*On own answers* is on {read.tokens:,} of {read.of_tokens:,} tokens of the model's own "
        f"greedy answers to {count(read.problems, 'problem')}: what a chain meets is more like "
        f"these than like solutions. KL there is {span} times that on solutions, by blend; a β "
        "that was matched was matched on solutions."
    )


def perturbation_sentences(conditions: Sequence[ProbedCondition]) -> list[str]:
    """What the blends do besides mixing, and which of them were made to match."""
    by_blend = {blend_label(probed): probed for probed in conditions}
    sentences = [_scale_sentence(label, probed) for label, probed in by_blend.items()]
    sentences += [
        f"The β of `{probed.condition}` was found by the probe: {probed.beta:g} has "
        f"{_asked(probed)} was asked for."
        for probed in conditions
        if probed.is_matched
    ]
    return [text for text in sentences if text]


def _asked(probed: ProbedCondition) -> str:
    """What a matched blend has, and what it was to have."""
    if probed.match_scale is not None:
        return f"a scale of {probed.scale:.3g}, and {probed.match_scale:.3g}"
    return f"a KL of {probed.kl:.3g}, and {probed.match_kl:.3g}"


def _scale_sentence(label: str, measures: NextTokenMeasures) -> str:
    change = measures.scale - 1
    if abs(change) < SAME_SCALE:
        return ""
    wider, temperature = ("wider", "lower") if change > 0 else ("less", "higher")
    return (
        f"With {label}, logits spread {abs(change):.0%} {wider} than the model's, which by itself "
        f"acts as a {temperature} temperature."
    )


def equal_kl_table(equal: Sequence[EqualBeta]) -> str:
    """Betas of other sources with the KL of a condition's blend."""
    rows = [
        [
            f"`{other.condition}`",
            escaped(source_label(other)),
            f"{other.kl:.2g}",
            "—" if other.beta is None else f"{other.beta:.3g}",
        ]
        for other in equal
    ]
    return table(["KL of", "Source", "KL", "β"], rows, 2)


def draft_table(draft: DraftMeasurements) -> str:
    """The draft by offset in its block, and all together."""
    offsets = [(str(at.offset), at) for at in draft.offsets if at.tokens]
    rows = [
        [
            name,
            str(predictions.tokens),
            _rank(predictions.mean_rank),
            _rank(predictions.median_rank),
            number(predictions.log_loss, 2),
            percent(predictions.agreement),
        ]
        for name, predictions in [*offsets, ("all", draft)]
    ]
    header = ["Offset", "Tokens", "Mean rank", "Median rank", "Log-loss", "Agreement"]
    return table(header, rows)


def same_model(published: PublishedProbe | None, study: Study) -> bool:
    """Whether others' probe was of this study's model."""
    return published is not None and study.model.name.split("/")[-1] == published.model


def beside_published(published: PublishedProbe, measured: ProbeMeasurements) -> str:
    """Others' ranks with this study's own: source of logits, theirs, ours."""
    own = {layer.layer: layer for layer in measured.layers if layer.norm == published.norm}
    theirs, ours = published.blend, same_blend(published, measured)
    rows = [
        ["final", _pair(published.final), _pair(measured.final)],
        *(
            [f"layer {layer.layer}", _pair(layer), _pair(own.get(layer.layer))]
            for layer in published.layers
        ),
        ["draft (mask)", number(published.draft.mean_rank, 0), _draft(measured.draft)],
        [
            f"layer {theirs.layer} at β = {theirs.beta:g}: better on all / hard tokens",
            _better(theirs),
            _better(ours),
        ],
    ]
    return table(["", escaped(published.label), "this study"], rows)


def _pair(ranks: PublishedRanks | NextTokenMeasures | None) -> str:
    return "—" if ranks is None else f"{ranks.mean_rank:,.0f} / {ranks.median_rank:,.0f}"


def _draft(draft: DraftMeasurements | None) -> str:
    return "—" if draft is None or draft.mean_rank is None else f"{draft.mean_rank:,.0f}"


def _better(blend: PublishedBlend | NextTokenMeasures | None) -> str:
    return "—" if blend is None else f"{percent(blend.better)} / {percent(blend.hard_better)}"
