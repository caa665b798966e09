"""Total variation to p^alpha against decoded tokens, for every kernel: independent of hardware.

On random tables in place of a language model, small enough that every answer can be listed. What
the answer of a chain follows after so many moves is computed from the transitions of its moves, as
`tests/kernel_enumeration.py` writes them from the mathematics and the engine is tested against
them. Particles have no such form: theirs is the mean of their weights over the engine's answers.
Decoded tokens are the engine's, with all that it saves.

Beside each kernel is what becomes of it without its correction, at the right one's decoded tokens;
and the published procedure (mh: published) at its own. Writes docs/images/mixing.svg, too.
"""

import dataclasses
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import matplotlib as mpl
import numpy as np
from bench import ROOT, parser, write_table
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from powerblend import Generation, sample
from powerblend.engine.particles import Particles
from powerblend.figures.style import BLUE, GREEN, GREY, ORANGE, PURPLE, RED, SKY, STYLE, note

sys.path.append(str(ROOT / "tests"))

from enumeration import Floats, Space, total_variation
from kernel_enumeration import Cuts, Rungs, kernel, rungs_of
from table_model import TableModel

VOCABULARY, EOS, CAP, ALPHA = 3, 1, 4, 4.0
LADDER = [1.5, 2, 3]
GAMMA, TRIES, SWEPT = 4, 4, 8  # as in resources/studies/kernels.yaml
POWER = {"sampler": "power", "alpha": ALPHA, "max_new_tokens": CAP, "blocks": 1}
PARTICLES = {"sampler": "particles", "alpha": ALPHA, "max_new_tokens": CAP, "blocks": CAP}
MOVES = (0, 1, 2, 4, 8, 16, 32, 64, 128, 256)
DEAR_MOVES = MOVES[:-2]
"""Of kernels that decode for several strings."""
COUNTED = 16
"""Moves whose decoded tokens are counted."""
SWEEPS = (1, 2, 4, 8)
COUNTS = (2, 4, 8, 16, 32)
NEAR = 0.05
"""The distance whose price in decoded tokens is in the table."""
FIGURE = ROOT / "docs" / "images" / "mixing.svg"

Decoding = dict[str, Any]


class Curve(NamedTuple):
    """Of a kernel: decoded tokens an answer [points] and distances [points], means over tables.

    ``right`` says whether its distance goes to 0; ``noise`` is what the distance of answers that
    follow the law would be, where it is estimated from answers.
    """

    kernel: str
    right: bool
    tokens: Floats
    distances: Floats
    noise: float = 0.0


class Table:
    """A random model, and the engine's answers by it."""

    def __init__(self, seed: int, answers: int) -> None:
        self._model = TableModel(seed, VOCABULARY, EOS, CAP, prompt_tokens=2)
        self._answers = answers

    def rungs(self, exponents: Sequence[float], gamma: float | None = None) -> Rungs:
        """All strings at the exponents, with their cuts."""
        sizes = (VOCABULARY, EOS, CAP)
        return rungs_of(self._model.reference(), sizes, exponents, "base", gamma)

    def answers(self, decoding: Decoding) -> list[Generation]:
        """By one condition."""
        return sample(self._model, [[2, 0]], decoding, self._answers, seed=1, rows=512)[0]

    def tokens(self, keys: Decoding, counts: Sequence[int]) -> Floats:
        """Decoded per answer by so many moves; beyond `COUNTED`, as many a move as before."""
        few, many = (_tokens(self.answers(POWER | keys | {"steps": n})) for n in (0, COUNTED))
        half = _tokens(self.answers(POWER | keys | {"steps": COUNTED // 2}))
        a_move = (many - half) / (COUNTED - COUNTED // 2)
        between = np.interp(counts, [0, COUNTED // 2, COUNTED], [few, half, many])
        return between + a_move * np.maximum(0, np.array(counts) - COUNTED)


def _tokens(answers: Sequence[Generation]) -> float:
    return float(np.mean([answer.decoded_tokens for answer in answers]))


def after_moves(space: Space, transitions: Floats, counts: Sequence[int] = MOVES) -> Floats:
    """Distances to the law after each number of moves, from a draw by q on."""
    start, law = space.first(CAP), space.target(CAP)
    powers = (np.linalg.matrix_power(transitions, moves) for moves in counts)
    return np.array([total_variation(start @ power, law) for power in powers])


def uncorrected(space: Space, cuts: Cuts) -> Space:
    """Strings on which the right kernel does what it does elsewhere without log S: t times S."""
    log_t, last = space.log_t.copy(), space.lengths - 1
    log_t[np.arange(len(last)), last] += np.log(cuts.mass)
    return dataclasses.replace(space, log_t=log_t)


def chain_curves(
    table: Table, name: str, keys: Decoding, without: str | None = None
) -> Iterable[Curve]:
    """A chain of one string, and the same without its correction, which is named."""
    rungs, tries = table.rungs([ALPHA], keys.get("cut_power")), keys.get("tries")
    (space,), (cuts,) = rungs.spaces, rungs.cuts
    counts = DEAR_MOVES if tries else MOVES
    tokens = table.tokens(keys, counts)
    right = kernel(space, CAP, cuts, tries)
    yield Curve(name, True, tokens, after_moves(space, right, counts))
    if without:
        wrong = kernel(uncorrected(space, cuts), CAP, cuts, tries)
        yield Curve(f"{name} {without}", False, tokens, after_moves(space, wrong, counts))


def published_curve(table: Table) -> Curve:
    """The published procedure."""
    (space,) = table.rungs([ALPHA]).spaces
    tokens = table.tokens({"mh": "published"}, MOVES)
    distances = after_moves(space, space.kernel(CAP, "published"))
    return Curve("ps as published", False, tokens, distances)


def ladder_curves(table: Table) -> Iterable[Curve]:
    """With swaps; and without, where the answer's string knows nothing of the others."""
    tokens = table.tokens({"ladder": LADDER}, DEAR_MOVES)
    rungs = table.rungs([*LADDER, ALPHA])
    yield Curve("tempering", True, tokens, ladder_distances(rungs))
    space, cuts = rungs.spaces[-1], rungs.cuts[-1]
    tokens = table.tokens({"ladder": LADDER, "swaps": False}, DEAR_MOVES)
    alone = after_moves(space, kernel(space, CAP, cuts), DEAR_MOVES)
    yield Curve("no_swaps", True, tokens, alone)


def ladder_distances(rungs: Rungs) -> Floats:
    """Of the last rung's string, after each of `DEAR_MOVES` with swaps, from draws by q on."""
    spaces = [states_of(space) for space in rungs.spaces]
    cuts = [Cuts((np.arange(CAP) < space.lengths[:, None]).astype(float)) for space in spaces]
    kernels = [kernel(space, CAP, of, None) for space, of in zip(spaces, cuts, strict=True)]
    ladder = Rungs(rungs.exponents, spaces, cuts)
    joint, law = ladder.distribution(CAP, 1, 0, None, swaps=True), spaces[-1].target(CAP)
    others, distances = tuple(range(len(spaces) - 1)), []
    for moves in range(DEAR_MOVES[-1] + 1):
        if moves:
            joint = ladder.moved(joint, kernels, swaps=True)
        if moves in DEAR_MOVES:
            distances.append(total_variation(joint.sum(others), law))
    return np.array(distances)


def states_of(space: Space) -> Space:
    """The strings that an answer can be, which is fewer to compute with."""
    kept = space.states(CAP)
    strings = [string for string, is_kept in zip(space.strings, kept, strict=True) if is_kept]
    return Space(strings, space.ends, space.log_p[kept], space.log_t[kept], space.log_q[kept])


def particle_curves(table: Table) -> Iterable[Curve]:
    """By the number of particles; and by sweeps, with the kept path and without."""
    yield weighted_curve(table, "particles", False, [{"particles": n} for n in COUNTS])
    sweeps = [{"particles": SWEPT, "sweeps": sweeps} for sweeps in SWEEPS]
    yield weighted_curve(table, "csmc", True, sweeps)
    with patch.object(Particles, "_first_free", 0):
        yield weighted_curve(table, "csmc without the kept path", False, sweeps)


def weighted_curve(table: Table, name: str, right: bool, settings: Sequence[Decoding]) -> Curve:
    """Of particles, with the settings one after another."""
    (space,) = table.rungs([ALPHA]).spaces
    tokens, distances, noise = [], [], 0.0
    for keys in settings:
        answers = table.answers(PARTICLES | keys)
        found = np.array([weights(space, answer) for answer in answers])
        half = len(found) // 2
        tokens.append(_tokens(answers))
        distances.append(total_variation(found.mean(0), space.target(CAP)))
        # The difference of two halves varies twice as much as the mean of all.
        noise = total_variation(found[:half].mean(0), found[half:].mean(0)) / 2
    return Curve(name, right, np.array(tokens), np.array(distances), noise)


def weights(space: Space, answer: Generation) -> Floats:
    """Of each string, the share of an answer's particles' weights."""
    index = {string: i for i, string in enumerate(space.strings)}
    shares = np.zeros(len(index))
    others = answer.replicas or []
    for replica in others:
        shares[index[tuple(replica.tokens)]] += replica.weight or 0.0
    shares[index[tuple(answer.tokens)]] += 1 - sum(r.weight or 0.0 for r in others)
    return shares


def curves_of(table: Table) -> Iterable[Curve]:
    """Every kernel on a table."""
    yield from chain_curves(table, "ps", {}, "without length terms")
    yield published_curve(table)
    entropy = {"cut": "entropy", "cut_power": GAMMA}
    yield from chain_curves(table, "ps_entropy", entropy, "without correction")
    yield from chain_curves(table, "ps_tries", {"tries": TRIES}, "without 1 / S")
    yield from ladder_curves(table)
    yield from particle_curves(table)


def mean(curves: Sequence[Curve]) -> Curve:
    """Of one kernel on several tables."""
    noise = float(np.mean([curve.noise for curve in curves])) / len(curves) ** 0.5
    tokens = np.mean([curve.tokens for curve in curves], axis=0)
    return curves[0]._replace(
        tokens=tokens, distances=np.mean([c.distances for c in curves], axis=0), noise=noise
    )


def price(curve: Curve, distance: float) -> float | None:
    """Decoded tokens until the distance, between points on a straight line in logs."""
    below = np.flatnonzero(curve.distances <= distance)
    if not below.size:
        return None
    k = max(1, int(below[0]))
    logs = np.log(curve.distances[[k, k - 1]]), np.log(curve.tokens[[k, k - 1]])
    return float(np.exp(np.interp(np.log(distance), *logs)))


def at(curve: Curve, tokens: float) -> float | None:
    """The distance for so many decoded tokens; None where the curve has none so dear."""
    if tokens > curve.tokens[-1]:
        return None
    logs = np.log(curve.tokens), np.log(np.maximum(curve.distances, 1e-12))
    return float(np.exp(np.interp(np.log(tokens), *logs)))


COLOURS = {
    "ps": BLUE, "ps_entropy": ORANGE, "ps_tries": GREEN, "tempering": RED, "no_swaps": PURPLE,
    "particles": GREY, "csmc": SKY,
}  # fmt: skip


def draw(curves: Sequence[Curve], noise: float, remark: str) -> Figure:
    """Right kernels on the left; on the right what becomes of them."""
    figure, panels = plt.subplots(1, 2, figsize=(10.4, 5.2), sharey=True)
    titles = ("As they are here", "With a term left out, or as published")
    sides = [[c for c in curves if c.right or c.kernel == "particles"]]
    sides.append([c for c in curves if c not in sides[0]])
    for axes, title, shown in zip(panels, titles, sides, strict=True):
        for curve in shown:
            _line(axes, curve)
        axes.set(title=title, xscale="log", yscale="log", ylim=(1e-3, 1))
        axes.set_xlabel("decoded tokens an answer", color=GREY)
        axes.axhspan(1e-3, noise, color="#EEEEEE", zorder=0)
        axes.grid(True)
        axes.legend(loc="lower left")
    panels[0].set_ylabel("total variation to p^α", color=GREY)
    note(figure, remark, 130)
    return figure


def _line(axes: Axes, curve: Curve) -> None:
    colour = COLOURS[curve.kernel.split()[0]]
    dashed = "--" if curve.kernel == "ps as published" else "-"
    axes.plot(
        curve.tokens, curve.distances, dashed, marker="o", ms=4, color=colour, label=curve.kernel
    )


def main() -> None:
    """Measure, draw, and write the table."""
    options = parser(__doc__, repeats=1)
    options.add_argument("--tables", type=int, default=4, help="random models (default 4)")
    options.add_argument("--answers", type=int, default=160, help="on each (default 160)")
    options.add_argument("--figure", type=Path, default=FIGURE, help="SVG to write")
    chosen = options.parse_args()
    found: dict[str, list[Curve]] = defaultdict(list)
    for seed in range(chosen.tables):
        for curve in curves_of(Table(seed, chosen.answers)):
            found[curve.kernel].append(curve)
        print(f"{seed + 1} of {chosen.tables} tables", file=sys.stderr)
    curves = [mean(of_kernel) for of_kernel in found.values()]
    notes = remark(curves, chosen.tables, chosen.answers)
    with mpl.rc_context(STYLE):
        figure = draw(curves, max(curve.noise for curve in curves), notes)
        figure.savefig(chosen.figure, metadata={"Date": None})
    write_table("mixing", "Total variation to p^α, by decoded tokens", rows(curves), notes)


def rows(curves: Sequence[Curve]) -> list[dict[str, Any]]:
    """Of the table."""
    return [
        {
            "kernel": curve.kernel,
            f"tokens to {NEAR:g}": _or_never(price(curve, NEAR)),
            **{f"at {n} tokens": _or_never(at(curve, n)) for n in (20, 50, 100)},
            "last": float(curve.distances[-1]),
            "for tokens": float(curve.tokens[-1]),
        }
        for curve in curves
    ]


def _or_never(value: float | None) -> float | str:
    return "–" if value is None else value


def remark(curves: Sequence[Curve], tables: int, answers: int) -> str:
    """What the numbers are of."""
    noise = max(curve.noise for curve in curves)
    return (
        f"Means over {tables} random tables, {VOCABULARY} tokens with EOS, answers of up to {CAP}, "
        f"α = {ALPHA:g}, one block. Distances of particles and csmc are estimated from {answers} "
        f"answers a table, and are noise below {noise:.3f}; the others are computed. Kernels are "
        "those of resources/studies/kernels.yaml; what is without a term is charged the decoded "
        "tokens of the kernel that has it."
    )


if __name__ == "__main__":
    main()
