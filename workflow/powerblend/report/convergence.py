"""The section about how far answers are from p^α: chains, weights, and a long run beside.

Nothing here computes a statistic.
"""

from collections.abc import Sequence
from statistics import median

from powerblend.report.text import count, named, number, percent, table
from powerblend.vocabulary.summary import (
    Distance,
    DistanceFromLongRun,
    LongRun,
    Noise,
    ParallelChains,
    Reweighting,
)


def parallel_table(parallel: Sequence[ParallelChains]) -> str:
    """R-hat and effective sizes over problems."""
    agreed = f"R-hat < {parallel[0].agreed_below:g}"
    header = ["Condition", "Chains × moves", "Problems that vary", agreed]
    header += ["Median R-hat", "Largest R-hat", "Median effective size", "Smallest"]
    return table(header, [_parallel_row(chains) for chains in parallel])


def _parallel_row(chains: ParallelChains) -> list[str]:
    found = [*chains.r_hat, *[float("inf")] * chains.stuck]
    return [
        f"`{chains.condition}`",
        f"{chains.chains} × {chains.moves}",
        f"{len(chains.effective)} of {len(chains.effective) + chains.still}",
        str(_agreed(chains)),
        _r_hat(median(found)) if found else "—",
        _r_hat(max(found)) if found else "—",
        number(median(chains.effective)) if chains.effective else "—",
        number(min(chains.effective)) if chains.effective else "—",
    ]


def _agreed(chains: ParallelChains) -> int:
    return sum(value < chains.agreed_below for value in chains.r_hat)


def _r_hat(value: float) -> str:
    return "∞" if value == float("inf") else f"{value:.2f}"


def parallel_sentence(parallel: Sequence[ParallelChains]) -> str:
    """In how many problems the chains that agree best agree."""
    varying = [chains for chains in parallel if chains.effective]
    if not varying:
        return "In no problem log p varies, so nothing tells whether chains agree."
    best = max(varying, key=lambda chains: _agreed(chains) / len(chains.effective))
    agreed, of = _agreed(best), count(len(best.effective), "problem")
    below = f"below {best.agreed_below:g}"
    if not agreed:
        return (
            f"No condition's chains agree (R-hat {below}) in any of the problems in which log p "
            "varies."
        )
    return (
        f"Chains agree best in `{best.condition}`: R-hat is {below} in {agreed} of the {of} in "
        "which log p varies."
    )


def reweighted_table(reweighted: Sequence[Reweighting]) -> str:
    """What is left of plain draws."""
    header = ["Draws of", "α", "Draws", "Median effective", "Smallest", "Below half"]
    rows = [
        [
            f"`{found.condition}`",
            f"{found.alpha:g}",
            str(found.draws),
            number(median(found.effective), 2),
            number(min(found.effective), 2),
            f"{_below_half(found)} of {len(found.effective)}",
            percent(found.accuracy),
            percent(found.reweighted),
        ]
        for found in reweighted
    ]
    return table([*header, "Accuracy", "By weight"], rows)


def _below_half(found: Reweighting) -> int:
    return sum(size < found.draws / 2 for size in found.effective)


def reweighted_sentence(reweighted: Sequence[Reweighting]) -> str:
    """On how many problems plain draws nearly are draws of p^α."""
    best = max(reweighted, key=lambda found: sum(found.effective))
    near = sum(size > 0.9 * best.draws for size in best.effective)
    problems = count(len(best.effective), "problem")
    return (
        f"On {near} of {problems} more than 90% of the draws of `{best.condition}` are left, and "
        f"less than half of them on {_below_half(best)}: where almost all are left p^α is near, "
        "and no chain has far to go."
    )


def long_run_table(run: LongRun) -> str:
    """Every condition's answers beside the long run's draws."""
    header = ["Condition", "Moves per block", "Decoded tokens", "Accuracy", "Log p"]
    header += [f"Less `{run.condition}`'s", "95% interval", "Rank", "95% interval"]
    rows = [_distance_row(found) for found in run.distances]
    noise = [f"`{run.condition}`", "", "", "", number(run.log_p, 2), "", _nats(run.gain_noise)]
    noise += ["", _shares(run.rank_noise), "", _nats(run.energy_noise)]
    return table([*header, "Energy distance", "95% interval"], [*rows, noise])


def _distance_row(found: DistanceFromLongRun) -> list[str]:
    return [
        f"`{found.condition}`",
        str(found.steps),
        number(found.decoded_tokens),
        percent(found.accuracy),
        number(found.log_p, 2),
        _signed(found.gain.value),
        _nats(found.gain),
        percent(found.rank.value),
        _shares(found.rank),
        number(found.energy.value, 2),
        _nats(found.energy),
    ]


def _signed(value: float) -> str:
    return ("+" if round(value, 2) > 0 else "") + number(value, 2)


def _nats(found: Distance | Noise) -> str:
    if found.low is None or found.high is None:
        return "—"
    return f"{_signed(found.low)} to {_signed(found.high)}"


def _shares(found: Distance | Noise) -> str:
    return f"{percent(found.low)} – {percent(found.high)}" if found.low is not None else "—"


def long_run_sentence(run: LongRun) -> str:
    """Whose answers are told from the long run's draws by log p, and whose are not."""
    told = [found for found in run.distances if _told(found)]
    others = [found.condition for found in run.distances if not _told(found)]
    total = count(len(run.distances), "interval")
    if not told:
        return f"None of {total} of the difference of log p excludes 0."
    words = []
    for word, sign in (("below", -1), ("above", 1)):
        names = [found.condition for found in told if sign * found.gain.value > 0]
        if names:
            words.append(f"{named(names)} {word} `{run.condition}`")
    rest = f" Not told from it: {named(others)}." if others else ""
    return (
        f"Of {total} of the difference of log p, {len(told)} "
        f"{'excludes' if len(told) == 1 else 'exclude'} 0: {', and '.join(words)}.{rest}"
    )


def _told(found: DistanceFromLongRun) -> bool:
    low, high = found.gain.low, found.gain.high
    return low is not None and high is not None and low * high > 0


def energy_sentence(run: LongRun) -> str:
    """Which answers are farther from the long run than chance and its own states are."""
    ceiling = max(0.0, run.energy_noise.high)
    far = [found.condition for found in run.distances if (found.energy.low or 0.0) > ceiling]
    noise = f"above where 95% of its own states are, {_nats(run.energy_noise)}"
    if not far:
        return f"By energy distance no interval is above 0 and {noise}."
    verb = "is" if len(far) == 1 else "are"
    whose = "its interval is" if len(far) == 1 else "their intervals are"
    return f"By energy distance {named(far)} {verb} apart: {whose} above 0 and {noise}."


def kernels_sentence(run: LongRun) -> str:
    """Both kernels with the most moves that both made."""
    made = {(found.kernel, found.steps): found for found in run.distances}
    both = [steps for kernel, steps in made if ("exact", steps) in made and kernel == "published"]
    if not both:
        return ""
    exact, published = (made[kernel, max(both)] for kernel in ("exact", "published"))
    return (
        f"With {max(both)} moves per block, log p is {_signed(exact.gain.value)} nats from the "
        f"long run's by the exact kernel, at {exact.decoded_tokens:.0f} decoded tokens, and "
        f"{_signed(published.gain.value)} by the published one, at "
        f"{published.decoded_tokens:.0f}; energy distances are {number(exact.energy.value, 2)} and "
        f"{number(published.energy.value, 2)}."
    )
