"""The probe in tables and words: what layers know, and how far blends move the model's law."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from powerblend.figures.style import FEW, source_label
from powerblend.report.text import cell, count, number, percent

Row = Mapping[str, Any]

SAME_SCALE = 0.05
"""A blend whose logits spread wider or narrower by less than this share keeps their scale."""


def text_sentence(measured: Row) -> str:
    """What was read, and what it can tell."""
    tokens = f"{measured['tokens']:,} of {measured['of_tokens']:,} tokens"
    problems = count(measured["problems"], "problem")
    if measured["over"] == "greedy":
        return (
            f"The probe looked at {tokens} of the model's own greedy answers to {problems}. Such a "
            "token is the model's most likely one by construction, so the final layer's ranks are "
            "1, hardly a token is hard, and nothing can be ranked better: what says something here "
            "are the ranks of other layers, KL and flips."
        )
    return (
        f"The probe looked at {tokens} of the solutions of {problems}, drawn at random, and at all "
        f"{measured['hard_tokens']} *hard* ones, to which the model gives less than "
        f"{measured['hard']:.0%}. These are the study's own problems: a layer or a β chosen by "
        "these numbers has been chosen on the problems that it is then tested on."
    )


def layer_rows(measured: Row, suggested: Row | None) -> list[list[str]]:
    """The layers that a reader asks for first: those blended, the suggested one, first and last."""
    last = measured["decoder_blocks"] - 1
    wanted = {0, last - 1, last} | {row.get("layer") for row in _blended(measured)}
    if suggested is not None:
        wanted.add(suggested["layer"])
    rows = [row for row in measured["layers"] if row["layer"] in wanted]
    return [
        *([str(row["layer"]), row["norm"], *_ranks(row)] for row in rows),
        ["**final**", "", *_ranks(measured["final"])],
    ]


def _ranks(row: Row) -> list[str]:
    return [
        _rank(row["mean_rank"]),
        _rank(row["median_rank"]),
        number(row["log_loss"], 2),
        percent(row["better"]),
        percent(None if row["flips"] is None else 1 - row["flips"]),
        number(row["scale"], 2),
    ]


def _rank(rank: float | None) -> str:
    """A rank; tenths matter only near 1."""
    return f"{rank:,.0f}" if rank is not None and rank >= 100 else number(rank)


def _blended(measured: Row) -> Iterator[Row]:
    yield from measured["blends"]
    yield from measured["configured"]


def suggested_sentence(suggested: Row | None, measured: Row) -> str:
    """The layer whose ranks are best, and what that does not show."""
    if suggested is None:
        return "The model has no layer before its last."
    state = "after the final norm" if suggested["norm"] == "final" else "as it is"
    final = measured["final"]
    text = (
        f"Of the layers before the last, block {suggested['layer']} {state} ranks the tokens best: "
        f"median {_rank(suggested['median_rank'])}, mean {_rank(suggested['mean_rank'])}, where "
        f"the model itself has {number(final['median_rank'])} and {number(final['mean_rank'])}. It "
        f"ranks {percent(suggested['better'])} of them better than the model does."
    )
    if measured["decoder_blocks"] - suggested["layer"] <= 3:
        text += (
            " It is close to the end, where a layer ranks well because it nearly is the last one: "
            "good ranks say that it may be blended in safely, not that it knows something else."
        )
    return text


def hard_tokens_sentence(measured: Row) -> str:
    """Whether any blend helps where the model is wrong, and at what price elsewhere."""
    hard, blends = measured["hard_tokens"], measured["blends"]
    if not hard or not blends:
        return "No token is hard, so whether a blend helps on such tokens is not seen."
    most = max(row["hard_better"] for row in blends)
    if not most:
        return f"None of the blends ranks any of the {count(hard, 'hard token')} better."
    best = [row for row in blends if row["hard_better"] == most]
    losses = dict.fromkeys(number(f(row["log_loss"] for row in best), 3) for f in (min, max))
    which = (
        f"{blend_label(best[0])} ranks the most hard tokens better than the model does"
        if len(best) == 1
        else f"{len(best)} rank equally many hard tokens better than the model does, the most"
    )
    text = (
        f"Of the {len(blends)} blends measured, {which}: {percent(most)} of {hard}. On all tokens "
        f"the log-loss changes from {number(measured['final']['log_loss'], 3)} to "
        f"{' – '.join(losses)}."
    )
    if hard < FEW:
        return f"{text} With {count(hard, 'hard token')}, nothing follows from it."
    return f"{text} The best of so many is favoured by luck."


def blend_label(row: Row) -> str:
    """A source with its beta."""
    return f"{cell(source_label(row))}, β = {row['beta']:g}"


def perturbation_rows(rows: Sequence[Row]) -> list[list[str]]:
    """How far each condition's blend moves the law of a token."""
    return [
        [
            f"`{row['condition']}`",
            blend_label(row),
            f"{row['kl']:.2g}",
            percent(row["flips"]),
            number(row["scale"], 2),
            percent(row["better"]),
            percent(row["hard_better"]),
        ]
        for row in rows
    ]


def perturbation_sentences(rows: Sequence[Row]) -> list[str]:
    """What the blends do besides mixing, and which of them were made to match."""
    seen: dict[str, Row] = {blend_label(row): row for row in rows}
    sentences = [_scale_sentence(label, row) for label, row in seen.items()]
    sentences += [
        f"The β of `{row['condition']}` was found by the probe: {row['beta']:g} has a KL of "
        f"{row['kl']:.3g}, and {row['match_kl']:.3g} was asked for."
        for row in rows
        if row["match_kl"] is not None
    ]
    return [text for text in sentences if text]


def _scale_sentence(label: str, row: Row) -> str:
    if abs(row["scale"] - 1) < SAME_SCALE:
        return ""
    wider = row["scale"] > 1
    return (
        f"With {label}, logits spread {abs(row['scale'] - 1):.0%} {'wider' if wider else 'less'} "
        f"than the model's, which by itself acts as a {'lower' if wider else 'higher'} temperature."
    )


def equal_rows(rows: Sequence[Row]) -> list[list[str]]:
    """Betas of other sources with the KL of a condition's blend."""
    return [
        [
            f"`{row['condition']}`",
            cell(source_label(row)),
            f"{row['kl']:.2g}",
            "—" if row["beta"] is None else f"{row['beta']:.3g}",
        ]
        for row in rows
    ]


def draft_offset_rows(draft: Row) -> list[list[str]]:
    """The draft by place in its block, and all together."""
    rows = [(str(row["offset"]), row) for row in draft["offsets"] if row["tokens"]]
    return [
        [
            name,
            str(row["tokens"]),
            _rank(row["mean_rank"]),
            _rank(row["median_rank"]),
            number(row["log_loss"], 2),
            percent(row["agreement"]),
        ]
        for name, row in [*rows, ("all", draft)]
    ]


def same_model(published: Row | None, config: Row) -> bool:
    """Whether others' probe was of this study's model."""
    return published is not None and config["model"]["name"].split("/")[-1] == published["model"]


def beside_published(published: Row, measured: Row) -> list[list[str]]:
    """Others' ranks with this study's own: source of logits, theirs, ours."""
    own = {row["layer"]: row for row in measured["layers"] if row["norm"] == published["norm"]}
    rows = [["final", _pair(published["final"]), _pair(measured["final"])]]
    rows += [
        [f"layer {row['layer']}", _pair(row), _pair(own.get(row["layer"]))]
        for row in published["layers"]
    ]
    theirs, ours = published["blend"], _same_blend(published, measured)
    rows.append(["draft (mask)", number(published["draft"]["mean_rank"], 0), _draft(measured)])
    rows.append(
        [
            f"layer {theirs['layer']} at β = {theirs['beta']:g}: better on all / hard tokens",
            f"{percent(theirs['better'])} / {percent(theirs['hard_better'])}",
            "—" if ours is None else f"{percent(ours['better'])} / {percent(ours['hard_better'])}",
        ]
    )
    return rows


def _pair(row: Row | None) -> str:
    return "—" if row is None else f"{row['mean_rank']:,.0f} / {row['median_rank']:,.0f}"


def _draft(measured: Row) -> str:
    draft = measured["draft"]
    return "—" if draft is None or draft["mean_rank"] is None else f"{draft['mean_rank']:,.0f}"


def _same_blend(published: Row, measured: Row) -> Row | None:
    wanted = published["blend"]
    return next(
        (
            row
            for row in _blended(measured)
            if row.get("norm") == published["norm"]
            and (row.get("layer"), row["beta"]) == (wanted["layer"], wanted["beta"])
        ),
        None,
    )
