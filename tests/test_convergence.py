"""How far from p^alpha: R-hat, effective sizes, weights and distances, computed another way."""

import math
from collections.abc import Sequence
from itertools import product
from statistics import NormalDist, median
from typing import Any

import numpy as np
import pandas as pd
import pytest

from powerblend.analysis.convergence import convergence
from powerblend.analysis.long_run import gaps, long_run, mean_interval
from powerblend.analysis.parallel_chains import (
    agreement,
    effective_size,
    moves_of,
    parallel_chains,
    r_hat,
)
from powerblend.analysis.reweighting import effective_draws, reweightings, shares
from powerblend.analysis.summary import condition_of
from powerblend.samplers import parse_sampler
from test_statistics import answer

RNG = np.random.default_rng(3)
Chains = list[list[float]]

POWER = {"sampler": "power", "alpha": 4.0, "max_new_tokens": 8, "blocks": 1, "steps": 8}
DECODING: dict[str, dict[str, Any]] = {
    "greedy": {"sampler": "greedy", "max_new_tokens": 8},
    "base": {"sampler": "temperature", "temperature": 1.0, "max_new_tokens": 8},
    "temp": {"sampler": "temperature", "temperature": 0.25, "max_new_tokens": 8},
    "longer": {"sampler": "temperature", "temperature": 0.25, "max_new_tokens": 16},
    "none": POWER | {"steps": 0},
    "ps": POWER,
    "published": POWER | {"mh": "published"},
    "flatter": POWER | {"alpha": 2.0},
    "tries": POWER | {"tries": 2},
    "blended": POWER | {"blend": {"source": "layer", "layer": 1, "beta": 0.1}},
    "long": POWER | {"steps": 64},
}
CONDITIONS = {name: condition_of(parse_sampler(how)) for name, how in DECODING.items()}


def graded(name: str, moves: Sequence[Sequence[Sequence[float]]], **fields: Any) -> pd.DataFrame:
    """Answers with the log p of their moves [problems, chains, moves], whose last is their own."""
    return pd.DataFrame(
        [
            answer(
                condition=name, problem_id=f"p/{i}", sample=j, log_p=float(chain[-1]),
                log_p_by_move=[float(value) for value in chain], **fields,
            )
            for i, chains in enumerate(moves)
            for j, chain in enumerate(chains)
        ]
    )  # fmt: skip


def autoregressive(rho: float, count: int, draws: int) -> Chains:
    chains = np.empty((count, draws))
    chains[:, 0] = RNG.normal(size=count)
    for t in range(1, draws):
        chains[:, t] = rho * chains[:, t - 1] + RNG.normal(size=count)
    return chains.tolist()


def halves(chains: Chains) -> Chains:
    """First and last half of each; of an odd number of draws the middle one is left out."""
    half = len(chains[0]) // 2
    return [chain[:half] for chain in chains] + [chain[-half:] for chain in chains]


def normalised(chains: Chains) -> Chains:
    """Normal scores of ranks, ties at their mean rank (Blom's formula)."""
    pooled = sorted(value for chain in chains for value in chain)
    n = len(pooled)

    def score(value: float) -> float:
        ranks = [i + 1 for i, other in enumerate(pooled) if other == value]
        return NormalDist().inv_cdf((sum(ranks) / len(ranks) - 3 / 8) / (n + 1 / 4))

    return [[score(value) for value in chain] for chain in chains]


def plain_r_hat(chains: Chains) -> float:
    """sqrt(((n - 1) / n W + B / n) / W), by sums."""
    m, n = len(chains), len(chains[0])
    means = [sum(chain) / n for chain in chains]
    grand = sum(means) / m
    between = sum((mean - grand) ** 2 for mean in means) * n / (m - 1)
    squares = [
        sum((v - mean) ** 2 for v in chain) for chain, mean in zip(chains, means, strict=True)
    ]
    within = sum(squares) / m / (n - 1)
    return math.sqrt(((n - 1) / n * within + between / n) / within)


def r_hat_by_hand(chains: Chains) -> float:
    split = halves(chains)
    middle = median(value for chain in split for value in chain)
    folded = [[abs(value - middle) for value in chain] for chain in split]
    return max(plain_r_hat(normalised(split)), plain_r_hat(normalised(folded)))


def effective_by_hand(chains: Chains) -> float:
    """Stan's estimate (reference manual, "Effective sample size"), of normal scores of halves."""
    split = normalised(halves(chains))
    m, n = len(split), len(split[0])
    means = [sum(chain) / n for chain in split]

    def autocovariance(lag: int) -> float:
        total = 0.0
        for chain, mean in zip(split, means, strict=True):
            total += sum((chain[i] - mean) * (chain[i + lag] - mean) for i in range(n - lag)) / n
        return total / m

    within = autocovariance(0) * n / (n - 1)
    grand = sum(means) / m
    variance = within * (n - 1) / n + sum((mean - grand) ** 2 for mean in means) / (m - 1)
    rho = [1.0] + [1 - (within - autocovariance(lag)) / variance for lag in range(1, n)]
    pairs = [rho[lag] + rho[lag + 1] for lag in range(0, n - 1, 2)]
    # Pairs count while they are positive, none for more than the last; of the next one, half of it.
    last = 0
    while pairs[last] > 0 and 2 * last + 4 < n:
        last += 1
    kept = [min(pairs[: k + 1]) for k in range(last)]
    tail = rho[2 * last] if rho[2 * last] > 0 or pairs[last] >= 0 else 0.0
    tau = max(-1 + 2 * sum(kept) + tail, 1 / math.log10(m * n))
    return m * n / tau


@pytest.mark.parametrize("rho", [-0.5, 0.0, 0.7])
@pytest.mark.parametrize(("count", "draws"), [(2, 16), (4, 32), (4, 33)])
def test_r_hat_and_effective_size_are_those_by_hand(rho: float, count: int, draws: int) -> None:
    chains = autoregressive(rho, count, draws)
    apart = [[value + 2 * k for value in chain] for k, chain in enumerate(chains)]
    rounded = [[round(value) for value in chain] for chain in chains]  # many ties
    for found in (chains, apart, rounded):
        assert r_hat(np.array(found)) == pytest.approx(r_hat_by_hand(found), rel=1e-9)
        assert effective_size(np.array(found)) == pytest.approx(effective_by_hand(found), rel=1e-9)


def test_one_chain_has_no_r_hat_but_an_effective_size() -> None:
    chains = autoregressive(0.3, 1, 20)
    assert r_hat(np.array(chains)) is None
    assert effective_size(np.array(chains)) == pytest.approx(effective_by_hand(chains), rel=1e-9)


def test_chains_that_stand_still_are_counted_apart() -> None:
    still = [[-3.0] * 16] * 3
    noise = [[-3.0 + 1e-5 * k] * 16 for k in range(3)]  # one string in three batches
    stuck = [[-3.0] * 16, [-4.0] * 16, [-3.0] * 16]
    moving = autoregressive(0.2, 3, 16)
    chains = moves_of(graded("ps", [still, noise, stuck, moving]))
    assert chains is not None
    found = agreement("ps", chains)
    assert (found.chains, found.moves, found.still, found.stuck) == (3, 16, 2, 1)
    exact = np.round(moving, 3).tolist()
    assert found.r_hat == (pytest.approx(r_hat_by_hand(exact)),)
    sizes = sorted([effective_by_hand(exact), effective_by_hand(stuck)])
    assert found.effective == pytest.approx(sizes)


@pytest.mark.parametrize(
    "chains",
    [
        [autoregressive(0, 1, 16)],
        [autoregressive(0, 4, 15)],
        [[[-1.0] * 16, [-2.0] * 17]],
    ],
    ids=["one chain", "few moves", "chains of several lengths"],
)
def test_what_cannot_be_told_is_left_out(chains: Any) -> None:
    assert parallel_chains(graded("ps", chains), CONDITIONS) == []
    assert convergence(graded("ps", chains), {"ps": CONDITIONS["ps"]}) is None


def test_records_without_moves_are_left_out() -> None:
    moving = graded("ps", [autoregressive(0, 2, 16)])
    assert parallel_chains(moving, CONDITIONS)[0].condition == "ps"
    both = pd.concat([moving, moving.assign(condition="temp", log_p_by_move=None)])
    assert [found.condition for found in parallel_chains(both, CONDITIONS)] == ["ps"]
    assert parallel_chains(moving.drop(columns="log_p_by_move"), CONDITIONS) == []


@pytest.mark.parametrize(
    ("weights", "size"),
    [
        ([1, 1, 1, 1], 4),
        ([1, 0, 0, 0], 1),
        ([3, 1, 1, 1], 36 / 12),
        ([0.5], 1),
    ],
)
@pytest.mark.parametrize("scale", [0.0, 5000.0, -5000.0])
def test_effective_draws_by_hand(weights: list[float], size: float, scale: float) -> None:
    with np.errstate(divide="ignore"):
        logs = np.log(np.array(weights, float)) + scale
    assert effective_draws(logs) == pytest.approx(size)
    assert shares(logs) == pytest.approx(np.array(weights) / sum(weights))


def test_infinite_weights_share_everything() -> None:
    assert effective_draws(np.array([np.inf, 0.0, np.inf, -np.inf])) == 2
    assert shares(np.array([np.inf, 700.0])).tolist() == [1, 0]
    nothing = np.full(3, -np.inf)
    assert effective_draws(nothing) == 0
    assert shares(nothing).tolist() == [0, 0, 0]


def drawn(name: str, log_p: Any, log_q: Any, right: Any) -> pd.DataFrame:
    """Plain draws [problems, samples], whose log t is log q."""
    rows = [
        answer(
            condition=name, problem_id=f"p/{i}", sample=j, log_p=log_p[i][j], log_t=log_q[i][j],
            correct=bool(right[i][j]),
        )
        for i, j in product(range(len(log_p)), range(len(log_p[0])))
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_plain_draws_are_weighted_towards_each_exponent() -> None:
    log_p = [[-1.0, -2.0, -2.5], [-3.0, -3.0, -3.0]]
    log_q = [[-1.0, -1.5, -4.0], [-2.0, -2.0, -2.0]]
    right = [[1, 0, 1], [0, 1, 1]]
    grades = pd.concat([drawn(name, log_p, log_q, right) for name in ("ps", "temp", "longer")])
    names = ("temp", "ps", "flatter", "blended", "longer")
    found = reweightings(grades, {name: CONDITIONS[name] for name in names})
    # Strings of twice the length are no draws of these chains, and a blend's target is another.
    assert [(one.condition, one.alpha, one.draws) for one in found] == [
        ("temp", 2.0, 3),
        ("temp", 4.0, 3),
    ]
    for one in found:
        weights = [
            [math.exp(one.alpha * p - q) for p, q in zip(*of, strict=True)]
            for of in zip(log_p, log_q, strict=True)
        ]
        sizes = [sum(w) ** 2 / sum(v * v for v in w) for w in weights]
        assert one.effective == pytest.approx(sorted(sizes))
        by_weight = [
            sum(v * r for v, r in zip(w, of, strict=True)) / sum(w)
            for w, of in zip(weights, right, strict=True)
        ]
        assert one.reweighted == pytest.approx(sum(by_weight) / 2)
        assert one.accuracy == pytest.approx(4 / 6)
    one_sample = grades[grades["sample"] == 0]
    assert reweightings(one_sample, CONDITIONS) == []


def gaps_by_hand(answers: Chains, draws: Any) -> tuple[float, float, float]:
    """Of one problem, pair by pair of different chains."""
    chains = range(len(answers))
    pairs = [(s, t) for s, t in product(chains, chains) if s != t]
    between = [answers[s] - y for s, t in pairs for y in draws[t]]  # type: ignore[operator]
    among = [abs(answers[s] - answers[t]) for s, t in pairs]  # type: ignore[operator]
    within = [abs(x - y) for s, t in pairs for x in draws[s] for y in draws[t]]
    n = len(between)
    rank = sum((gap > 0) + (gap == 0) / 2 for gap in between) / n
    energy = 2 * sum(map(abs, between)) / n - sum(among) / len(among) - sum(within) / len(within)
    return sum(between) / n, rank, energy


def test_gaps_are_those_of_all_pairs_of_different_chains() -> None:
    draws = RNG.normal(size=(3, 4, 5)).round(1)
    answers = RNG.normal(size=(3, 4)).round(1) + 0.5
    found = gaps(answers, draws)
    for i in range(3):
        expected = gaps_by_hand(answers[i].tolist(), draws[i].tolist())
        assert [column[i] for column in found] == pytest.approx(expected)


def test_energy_has_no_bias_though_chains_share_random_numbers() -> None:
    """Over all outcomes of two chains: the distance of two coins is 2 (p - q)^2."""
    for p, q in [(0.3, 0.3), (0.5, 0.2)]:
        total = 0.0
        for u in product([0, 1, 2], repeat=2):  # one number decides a chain's coin of either kind
            shared = [u_of < 1 for u_of in u], [u_of < 2 for u_of in u]
            chances = {0: min(p, q), 1: abs(p - q), 2: 1 - max(p, q)}
            rare, common = (np.array([row], float) for row in shared)
            energy = gaps(common, rare[:, :, None]).energy[0]
            total += chances[u[0]] * chances[u[1]] * energy
        assert total == pytest.approx(2 * (p - q) ** 2)


def test_intervals_of_means() -> None:
    found = mean_interval(np.array([1.0, 2.0, 6.0]))
    reach = 4.302652729911275 * math.sqrt(7 / 3)  # t of 2 degrees of freedom
    assert (found.value, found.low, found.high) == pytest.approx((3, 3 - reach, 3 + reach))
    one = mean_interval(np.array([1.5]))
    assert (one.value, one.low, one.high) == (1.5, None, None)
    same = mean_interval(np.array([1.5, 1.5]))
    assert (same.low, same.high) == (1.5, 1.5)


def of_study(problems: int = 2) -> pd.DataFrame:
    """Every condition's answers to some problems by three chains, in no order."""
    long = RNG.normal(size=(problems, 3, 17)).round(2)
    others = {name: RNG.normal(size=(problems, 3, 1)).round(2) for name in DECODING}
    tables = [graded(name, moves.tolist()) for name, moves in others.items() if name != "long"]
    return pd.concat([*tables, graded("long", long.tolist())]).sample(frac=1, random_state=1)


@pytest.mark.parametrize("problems", [1, 3, 30])
def test_distances_from_a_long_run(problems: int) -> None:
    grades = of_study(problems)
    run = long_run(grades, CONDITIONS, "long")
    assert run is not None
    assert (run.condition, run.chains, run.draws) == ("long", 3, 9)
    told = {found.condition: found for found in run.distances}
    # What blends, decodes greedily, or is of another exponent or length is no answer to compare.
    assert list(told) == ["base", "temp", "none", "ps", "published", "tries"]
    kernels = {name: (found.kernel, found.steps) for name, found in told.items()}
    assert kernels == {
        "base": (None, 0), "temp": (None, 0), "none": ("exact", 0), "ps": ("exact", 8),
        "published": ("published", 8), "tries": (None, 8),
    }  # fmt: skip
    of_run = [[chain[8:] for chain in chains] for chains in read(grades, "long")]
    for name, found in told.items():
        ends = [[chain[-1] for chain in chains] for chains in read(grades, name)]
        by_hand = [gaps_by_hand(of, draws) for of, draws in zip(ends, of_run, strict=True)]
        means = [sum(column) / problems for column in zip(*by_hand, strict=True)]
        shown = (found.gain, found.rank, found.energy)
        assert [one.value for one in shown] == pytest.approx(means)
        assert (found.gain.low is None) == (problems == 1)
    states = [[gaps_by_hand([chain[i] for chain in of], of)[2] for of in of_run] for i in range(9)]
    low, high = np.quantile([sum(of) / problems for of in states], [0.025, 0.975])
    assert (run.energy_noise.low, run.energy_noise.high) == pytest.approx((low, high))


def read(grades: pd.DataFrame, name: str) -> list[Chains]:
    """Log p by move of a condition, by problem and sample."""
    rows = grades[grades["condition"] == name].set_index(["problem_id", "sample"])
    problems = sorted({problem for problem, _ in rows.index})
    return [[rows["log_p_by_move"][problem, sample] for sample in range(3)] for problem in problems]


def test_a_study_without_a_long_run_has_no_distances() -> None:
    grades = of_study()
    assert long_run(grades, CONDITIONS, None) is None
    assert long_run(grades[grades["condition"] != "long"], CONDITIONS, "long") is None
    one = grades[grades["sample"] == 0]
    assert convergence(one, CONDITIONS, "long") is None
    found = convergence(grades, CONDITIONS, "long")
    assert found is not None
    assert found.long_run is not None
    assert [chains.condition for chains in found.parallel] == ["long"]
    assert {weighted.condition for weighted in found.reweighted} == {"base", "temp"}
