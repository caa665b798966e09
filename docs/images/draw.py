"""The pictures of the README and of the documentation, each for a light page and for a dark one.

    .venv/bin/python docs/images/draw.py

`move` and `batch` are drawings and hold no numbers; `result` shows the main table of the demo's
report, which `make demo` writes, and carries its numbers along so that a test can compare them.
"""

import json
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle

from powerblend.figures.style import BLUE, GREEN, ORANGE, STYLE

HERE = Path(__file__).parent
REPORT = HERE.parents[1] / "report" / "demo.md"


DECODERS = {
    "greedy": "greedy",
    "base": "ordinary sampling",
    "temp": "low temperature",
    "ps": "power sampling",
    "blend_greedy": "greedy",
    "blend_ps": "power sampling",
    "draft_blend_ps": "power sampling",
}
"""How the demo's conditions decode."""


class Page(NamedTuple):
    """The colours of a page: of its ink, of remarks, of what is pale, and of rejection."""

    name: str
    ink: str
    remark: str
    pale: str
    blue: str
    red: str
    green: str


PAGES = (
    Page("light", "#1F2328", "#59636E", "#DDE1E6", BLUE, "#C0392B", "#1A7F37"),
    Page("dark", "#E6EDF3", "#9DA7B1", "#3A424C", "#2B7FC4", "#F2786F", "#4AC26B"),
)


def move(page: Page) -> Figure:
    """One Metropolis-Hastings move: prefix, cut, proposal, accept or reject."""
    figure, axes = _canvas(10.4, 3.8)
    prefix = ["Three", "boxes", "hold"]
    old = ["3", "+", "4", "=", "7", "pens", "EOS"]
    new = ["3", "×", "4", "=", "12", "pens", "EOS"]
    left, above, below = 1.55, 2.66, 1.42

    cut = _tokens(axes, left, above, prefix, page.blue, "white")
    end_x = _tokens(axes, cut, above, old, page.pale, page.ink)
    _tokens(axes, left, below, prefix, page.blue, "white", faint=True)
    end_y = _tokens(axes, cut, below, new, ORANGE, "black")
    axes.plot([cut - 0.03] * 2, [below - 0.1, above + 0.86], "--", color=page.ink, lw=1.2)
    for y, name in ((above, "answer $x$"), (below, "proposal $y$")):
        axes.text(left - 0.18, y + 0.2, name, ha="right", va="center", color=page.ink, size=11.5)
    _brace(axes, left, cut - 0.1, above + 0.52, "prefix: kept", page)
    _brace(axes, cut + 0.04, end_x - 0.06, above + 0.52, "suffix", page)
    axes.text(
        cut - 0.03,
        above + 0.95,
        "cut $m$: uniform over $x$",
        ha="center",
        color=page.ink,
        size=10.5,
    )
    remark = "drawn anew from $q$ = softmax($z$ / $T$), $T$ = 1/α, until EOS"
    axes.text(cut, below - 0.38, remark, color=page.remark, size=10)

    edge = max(end_x, end_y) + 0.12
    centre = (above + below) / 2 + 0.2
    for y in (above + 0.2, below + 0.2):
        _arrow(axes, (edge, y), (edge + 0.62, centre), page.ink)
    box = (edge + 0.68, centre - 0.36, 1.3, 0.72)
    _box(axes, *box, "none", page.ink)
    axes.text(
        box[0] + 0.65, centre, "min(1, e$^r$)", ha="center", va="center", color=page.ink, size=12.5
    )
    axes.text(box[0] + 0.65, centre + 0.5, "probability", ha="center", color=page.remark, size=10)
    right = box[0] + box[2]
    for y, colour, verdict, then in (
        (above + 0.2, page.green, "accept", "$y$ is the answer now"),
        (below + 0.2, page.red, "reject", "$x$ stays as it was"),
    ):
        _arrow(axes, (right + 0.06, centre), (right + 0.62, y), colour)
        axes.text(
            right + 0.72, y + 0.13, verdict, va="center", color=colour, size=12, weight="bold"
        )
        axes.text(right + 0.72, y - 0.15, then, va="center", color=page.ink, size=10)
    formula = (
        r"$r \;=\; \sum_{i\geq m} w(y_i) \;-\; \sum_{i\geq m} w(x_i) \;+\; \log|x| \;-\; \log|y|$"
        r"$\qquad\quad w \;=\; \log t - \log q \qquad\quad t \;=\; p^{\,\alpha}$"
    )
    axes.text(left, 0.28, formula, color=page.ink, size=12.5, va="center")
    axes.set_xlim(0.25, right + 2.45)
    axes.set_ylim(-0.02, 3.85)
    return figure


def result(page: Page) -> Figure:
    """The demo: what each condition answers correctly, and what an answer costs."""
    rows = overall()
    figure, (accuracy, cost) = plt.subplots(1, 2, figsize=(10.4, 3.4), width_ratios=[1.4, 1])
    names = [_label(row["condition"]) for row in rows]
    colours = [_colour(row["condition"], page) for row in rows]
    accuracy.barh(names, [row["accuracy"] for row in rows], color=colours, height=0.62)
    cost.barh(names, [row["decoded_tokens"] for row in rows], color=colours, height=0.62)
    for place, row in enumerate(rows):
        accuracy.plot(
            [row["low"], row["high"]], [place] * 2, color=page.ink, lw=1.3, marker="|", ms=7
        )
        text = f"{row['accuracy']:.1f}%"
        accuracy.text(row["high"] + 1.2, place, text, va="center", color=page.ink, size=10)
        cost.text(
            row["decoded_tokens"] + 1,
            place,
            f"{row['decoded_tokens']:.1f}",
            va="center",
            color=page.ink,
            size=10,
        )
    problems = rows[0]["total"]
    accuracy.set_title(f"Correct of {problems} answers, 95% intervals", size=11)
    cost.set_title("Tokens decoded per answer", size=11)
    accuracy.set_xlim(0, 72)
    accuracy.set_xticks(range(0, 61, 20))
    accuracy.xaxis.set_major_formatter(lambda value, _: f"{value:.0f}%")
    cost.set_xlim(0, 76)
    cost.set_xticks(range(0, 61, 20))
    cost.set_yticks(range(len(rows)), [""] * len(rows))
    for axes in (accuracy, cost):
        axes.set_ylim(len(rows) - 0.45, -0.55)
        axes.grid(True, axis="x", color=page.pale)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
    legend = {
        "the model alone": page.blue,
        "blended with one of its layers": ORANGE,
        "blended with a draft": GREEN,
    }
    handles = [Rectangle((0, 0), 1, 1, color=colour) for colour in legend.values()]
    figure.legend(handles, legend, loc="outside lower center", ncols=3, fontsize=9.5)
    return figure


def batch(page: Page) -> Figure:
    """A batch in the middle of a job: every row a chain at a place of its own."""
    figure, axes = _canvas(10.4, 4.3)
    rows: Sequence[tuple[str, float, float, float, float]] = (
        # what the row does; ends of its prompt, of what is kept, of the new; of the saved suffix
        ("extends", 3.3, 4.6, 5.9, 0),
        ("moves", 4.1, 5.0, 6.3, 8.3),
        ("moves", 2.9, 5.4, 5.8, 7.1),
        ("extends", 3.7, 6.6, 7.7, 0),
        ("moves", 3.1, 3.6, 6.9, 7.6),
    )
    shared, top, height = 2.0, 3.35, 0.42
    bottom = top - 0.62 * (len(rows) - 1)
    axes.add_patch(
        Rectangle((0.95, bottom), shared - 0.95, top - bottom + height, color=page.pale, lw=0)
    )
    axes.text(
        (0.95 + shared) / 2, (top + bottom + height) / 2, "what all\nprompts\nbegin with,\nonce",
        ha="center", va="center", color=page.ink, size=9.5,
    )  # fmt: skip
    for index, (does, prompt, kept, new, saved) in enumerate(rows):
        y = top - 0.62 * index
        axes.text(
            0.85, y + 0.21, f"row {index}", ha="right", va="center", color=page.ink, size=10.5
        )
        for start, stop, colour in (
            (shared + 0.04, prompt, page.pale), (prompt, kept, page.blue), (kept, new, ORANGE)
        ):  # fmt: skip
            axes.add_patch(Rectangle((start, y), stop - start - 0.04, height, color=colour, lw=0))
        axes.add_patch(Rectangle((new - 0.17, y), 0.13, height, color=page.ink, lw=0))
        if saved:
            axes.add_patch(
                Rectangle(
                    (kept, y - 0.09), saved - kept, 0.07, facecolor="none", hatch="//////",
                    edgecolor=page.remark, lw=0,
                )
            )  # fmt: skip
        axes.text(8.55, y + 0.21, does, va="center", color=page.remark, size=10)
    labels = (
        (page.pale, "prompt"),
        (page.blue, "answer, kept"),
        (ORANGE, "drawn anew"),
        (page.ink, "this step's token"),
        (None, "saved: put back on rejection"),
    )
    x = 0.95
    for colour, text in labels:
        hatch = {"facecolor": "none", "hatch": "//////", "edgecolor": page.remark, "lw": 0}
        style = hatch if colour is None else {"color": colour, "lw": 0}
        axes.add_patch(Rectangle((x, 0.08), 0.24, 0.2, **style))
        axes.text(x + 0.34, 0.18, text, va="center", color=page.ink, size=10)
        x += 0.34 + 0.082 * len(text) + 0.3
    axes.text(
        0.95, top + 0.66, "A step is one forward pass: one token for every row, each at a position "
        "of its own.", color=page.ink, size=11,
    )  # fmt: skip
    axes.set_xlim(0.15, 9.35)
    axes.set_ylim(-0.05, 4.3)
    return figure


def overall() -> list[dict[str, Any]]:
    """The rows of the demo report's table of accuracies, in per cent where they are shares."""
    text = REPORT.read_text(encoding="utf-8")
    table = text.split("### 4.1 Overall accuracy")[1].split("### 4.2")[0]
    header, *rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in table.splitlines()
        if line.startswith("|") and not line.startswith("| :--")
    ]
    return [_row(dict(zip(header, cells, strict=True))) for cells in rows]


def _row(cells: dict[str, str]) -> dict[str, Any]:
    low, high = re.findall(r"([\d.]+)%", cells["95% interval"])
    return {
        "condition": cells["Condition"].strip("`"),
        "accuracy": float(cells["Accuracy"].rstrip("%")),
        "low": float(low),
        "high": float(high),
        "total": int(cells["Total"]),
        "decoded_tokens": float(cells["Decoded tokens"]),
    }


def _label(condition: str) -> str:
    how = DECODERS[condition]
    return how if how == condition else f"{how} ({condition})"


def _colour(condition: str, page: Page) -> str:
    if condition.startswith("draft"):
        return GREEN
    return ORANGE if "blend" in condition else page.blue


def _canvas(width: float, height: float) -> tuple[Figure, Axes]:
    figure, axes = plt.subplots(figsize=(width, height))
    axes.axis("off")
    axes.set_aspect("equal")
    return figure, axes


def _tokens(
    axes: Axes, x: float, y: float, words: Sequence[str], fill: str, ink: str, faint: bool = False
) -> float:
    """Draw a box for every token; where the next would begin."""
    for word in words:
        width = 0.3 + 0.098 * len(word)
        _box(axes, x, y, width, 0.42, fill, fill, alpha=0.55 if faint else 1.0)
        axes.text(x + width / 2, y + 0.2, word, ha="center", va="center", color=ink, size=11)
        x += width + 0.09
    return x


def _box(
    axes: Axes, x: float, y: float, width: float, height: float, fill: str, edge: str,
    alpha: float = 1.0,
) -> None:  # fmt: skip
    shape = "round,pad=0,rounding_size=0.08"
    axes.add_patch(
        FancyBboxPatch((x, y), width, height, shape, fc=fill, ec=edge, lw=1.3, alpha=alpha)
    )


def _brace(axes: Axes, left: float, right: float, y: float, text: str, page: Page) -> None:
    axes.plot([left, left, right, right], [y, y + 0.1, y + 0.1, y], color=page.remark, lw=1)
    axes.text((left + right) / 2, y + 0.18, text, ha="center", color=page.remark, size=10)


def _arrow(axes: Axes, start: tuple[float, float], stop: tuple[float, float], colour: str) -> None:
    axes.add_patch(
        FancyArrowPatch(start, stop, arrowstyle="-|>", mutation_scale=13, color=colour, lw=1.5,
                        shrinkA=0, shrinkB=0)
    )  # fmt: skip


PICTURES: dict[str, Callable[[Page], Figure]] = {"move": move, "result": result, "batch": batch}


def main(folder: Path, kind: str) -> None:
    """Draw all of them."""
    for page in PAGES:
        inks = dict.fromkeys(
            ("text.color", "axes.labelcolor", "xtick.color", "ytick.color", "hatch.color"), page.ink
        )
        clear = {
            "savefig.transparent": True,
            "figure.constrained_layout.h_pad": 0.1,
            "figure.facecolor": "none",
        }
        with mpl.rc_context(STYLE | inks | clear):
            for name, draw in PICTURES.items():
                figure = draw(page)
                made: dict[str, Any] = {"Date": None} if kind == "svg" else {}
                if name == "result" and kind == "svg":
                    made["Description"] = json.dumps(overall())
                figure.savefig(folder / f"{name}-{page.name}.{kind}", metadata=made)
                plt.close(figure)


if __name__ == "__main__":
    # A folder for PNG files, to look at; else the pictures themselves.
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]), "png")
    else:
        main(HERE, "svg")
