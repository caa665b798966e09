"""Kernels and votes at equal decoded tokens: every number against an independent computation."""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from powerblend.analysis.kernels import best_by, between, kernels, own_vote, sharpened_by
from powerblend.analysis.mixing import effective_draws, mixing
from powerblend.analysis.movement import movements
from powerblend.analysis.overall import wilson
from powerblend.analysis.paired import difference_interval
from powerblend.analysis.several_samples import ballots_of, vote
from powerblend.analysis.summary import condition_of
from powerblend.graders import parse_grader
from powerblend.infrastructure.files import read_jsonl, write_jsonl
from powerblend.jobs.grade import grade_records
from powerblend.samplers import parse_sampler
from powerblend.vocabulary.summary import Condition, KernelVote
from test_statistics import answer

RNG = np.random.default_rng(7)
POWER = {"sampler": "power", "alpha": 4.0, "max_new_tokens": 64, "blocks": 1, "steps": 8}
DECODING: dict[str, dict[str, Any]] = {
    "base": {"sampler": "temperature", "temperature": 1.0, "max_new_tokens": 64},
    "temp": {"sampler": "temperature", "temperature": 0.25, "max_new_tokens": 64},
    "ps": POWER,
    "tempering": POWER | {"ladder": [2.0]},
    "csmc": {"sampler": "particles", "alpha": 4.0, "max_new_tokens": 64, "sweeps": 2},
}
CONDITIONS = {name: condition_of(parse_sampler(how)) for name, how in DECODING.items()}


def conditions(*names: str) -> Mapping[str, Condition]:
    return {name: CONDITIONS[name] for name in names}


def rung(**fields: Any) -> dict[str, Any]:
    """A replica's grade: a ladder's, unless told otherwise."""
    row = {"answer": "1", "correct": True, "log_p": -1.0, "alpha": 2.0, "weight": None}
    return row | {"moves": 8, "swaps": 2} | fields


def particle(weight: float, **fields: Any) -> dict[str, Any]:
    return rung(alpha=None, moves=None, swaps=None, weight=weight, **fields)


def autoregressive(rho: float, count: int, draws: int) -> np.ndarray:
    """Chains [count, draws] that begin where they are at rest."""
    chains = np.empty((count, draws))
    chains[:, 0] = RNG.normal(size=count)
    for t in range(1, draws):
        noise = RNG.normal(size=count) * np.sqrt(1 - rho**2)
        chains[:, t] = rho * chains[:, t - 1] + noise
    return chains


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("count", [1, 4])
def test_effective_draws_are_those_of_an_autoregression(rho: float, count: int) -> None:
    draws = 2000 // count
    found = np.mean([effective_draws(autoregressive(rho, count, draws)) for _ in range(20)])
    assert found == pytest.approx(count * draws * (1 - rho) / (1 + rho), rel=0.15)


def test_chains_that_disagree_or_stand_still_count_for_little() -> None:
    apart = RNG.normal(size=(4, 500)) + 10 * np.arange(4)[:, None]
    assert effective_draws(apart) < 8
    assert effective_draws(np.repeat(np.arange(4.0)[:, None], 8, axis=1)) <= 4
    swings = np.tile([1.0, -1.0], (2, 4))
    assert effective_draws(swings) == swings.size


def of_samples(k: int, spelled: Sequence[Any], right: Sequence[int], gamma: float) -> float:
    """The expected accuracy of an answer drawn by frequency^gamma, choice by choice."""
    total = 0.0
    chosen = list(combinations(range(len(spelled)), k))
    for some in chosen:
        counts = Counter(spelled[i] for i in some if spelled[i] is not None)
        weights = {a: n**gamma for a, n in counts.items()}
        hit = {
            a: np.mean([r for s, r in zip(spelled, right, strict=True) if s == a]) for a in counts
        }
        total += sum(w * hit[a] for a, w in weights.items()) / (sum(weights.values()) or 1)
    return total / len(chosen)


@pytest.mark.parametrize("gamma", [1.0, 4.0])
@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_frequencies_are_sharpened(k: int, gamma: float) -> None:
    spelled = np.array(["1", "2", "2", None, "1"], dtype=object)
    right = np.array([1.0, 0, 0, 0, 1])
    expected = of_samples(k, spelled.tolist(), right.astype(int).tolist(), gamma)
    assert sharpened_by(gamma)(ballots_of(5, k), spelled, right) == pytest.approx(expected)


def test_the_sharper_the_frequencies_the_nearer_the_majority() -> None:
    spelled = np.array(["1", "1", "2", "3"], dtype=object)
    right = np.array([1.0, 1, 0, 0])
    shares = [sharpened_by(gamma)(ballots_of(4, 4), spelled, right) for gamma in (1, 4, 40)]
    assert shares == pytest.approx([1 / 2, 16 / 18, 1])
    assert vote(ballots_of(4, 4), spelled, right) == 1
    nothing = np.array([None] * 4, dtype=object)
    assert sharpened_by(4)(ballots_of(4, 2), nothing, np.zeros(4)) == 0


@pytest.mark.parametrize("k", [1, 2, 4])
def test_the_best_of_samples_and_a_tie_shared(k: int) -> None:
    values, right = np.array([-1.0, -1.0, -3.0, -2.0]), np.array([1.0, 0, 1, 1])
    expected = [
        np.mean([right[i] for i in some if values[i] == max(values[j] for j in some)])
        for some in combinations(range(4), k)
    ]
    assert best_by(ballots_of(4, k), values, right) == pytest.approx(np.mean(expected))


def graded(name: str, right: Sequence[Sequence[int]], **fields: Any) -> list[dict[str, Any]]:
    """Answers of a condition by problem and sample, ``1`` where right."""
    return [
        answer(
            condition=name, problem_id=f"p/{i}", sample=j, correct=bool(value),
            answer="1" if value else "2", **fields,
        )
        for i, samples in enumerate(right)
        for j, value in enumerate(samples)
    ]  # fmt: skip


def study() -> pd.DataFrame:
    """Two problems, three samples, of which ps pays for two and a half of temp and 0.5 of base."""
    ladder = [rung(answer="2", correct=False, swaps=1), rung(answer="2", correct=False, swaps=3)]
    particles = [particle(0.6), particle(0.1, answer="2", correct=False)]
    return pd.DataFrame(
        [
            *graded("base", [[0, 0, 1], [0, 1, 0]], decoded_tokens=500, certainty=1.0),
            *graded("temp", [[1, 0, 1], [0, 1, 0]], decoded_tokens=100),
            *graded("ps", [[1, 1, 1], [0, 1, 0]], decoded_tokens=250, moves=8, accepted=5),
            *graded(
                "tempering", [[1, 1, 0], [0, 0, 0]], decoded_tokens=240, moves=8, moved=4,
                replicas=ladder,
            ),
            *graded("csmc", [[0, 1, 0], [0, 0, 1]], decoded_tokens=260, moves=1, moved=1,
                replicas=particles,
            ),
        ]
    )  # fmt: skip


def votes_of(found: Sequence[KernelVote]) -> dict[tuple[str, str], KernelVote]:
    return {(vote.condition, vote.vote): vote for vote in found}


def test_every_kernel_and_every_vote_stands_beside_the_reference() -> None:
    found = kernels(study(), CONDITIONS)
    assert found is not None
    assert found.reference == "ps"
    votes = votes_of(found.votes)
    kinds = ("answer", "majority", "log_p", "mean_log_p", "sharpened")
    assert set(votes) == {
        *((name, "answer") for name in CONDITIONS), *(("temp", kind) for kind in kinds),
        ("tempering", "rungs"), ("csmc", "weights"),
    }  # fmt: skip
    majority = votes["temp", "majority"]
    assert (majority.k, majority.decoded_tokens) == (2.5, 250)
    # Of two and of three: {1, 2} is a tie.
    two, three = np.array([2 / 3, 1 / 3]), np.array([1, 0])
    right = (two + three) / 2
    assert majority.accuracy == pytest.approx(right.mean())
    assert (majority.low, majority.high) == pytest.approx(wilson(right.mean(), 2))
    apart = right - np.array([1, 1 / 3])
    assert majority.difference == pytest.approx(apart.mean())
    bounds = majority.difference_low, majority.difference_high
    assert bounds == pytest.approx(difference_interval(apart, 3))
    assert votes["ps", "answer"].difference is None


def test_certainty_chooses_where_it_was_kept() -> None:
    grades = study()
    of_temp = grades["condition"] == "temp"
    grades.loc[of_temp, "certainty"] = [3.0, 9, 1, 9, 1, 2]
    found = kernels(grades, CONDITIONS)
    assert found is not None
    chosen = votes_of(found.votes)["temp", "certainty"]
    # Of two, the first problem's right one at 3 beats the other in one of three; of three, none.
    assert chosen.accuracy == pytest.approx(((1 / 3 + 0) / 2 + 0) / 2)


def test_strings_of_one_answer_vote() -> None:
    votes = votes_of(kernels(study(), CONDITIONS).votes)  # type: ignore[union-attr]
    # Two rungs that say 2 outvote the answer; particles have .6, .1 and the answer the rest.
    assert votes["tempering", "rungs"].accuracy == 0
    assert votes["csmc", "weights"].accuracy == 1
    rows = graded(
        "csmc", [[0]], replicas=[particle(0.4), particle(0.3, answer=None, correct=False)]
    )
    assert own_vote(pd.DataFrame(rows)) == pytest.approx([1.0])


def test_between_whole_numbers_goes_by_lot() -> None:
    grades = pd.DataFrame(graded("temp", [[1, 0, 0]]))
    whole = [between(grades, k, vote)[0] for k in (2, 3)]
    assert between(grades, 2.25, vote)[0] == pytest.approx(0.75 * whole[0] + 0.25 * whole[1])


def test_one_chain_with_uniform_cuts_is_no_comparison_of_kernels() -> None:
    rows = [*graded("ps", [[1, 0]], moves=4), *graded("temp", [[1, 0]])]
    assert kernels(pd.DataFrame(rows), conditions("ps", "temp")) is None
    recorded = pd.DataFrame(rows).assign(log_p_by_move=[[-1.0] * 4] * len(rows))
    assert kernels(recorded, conditions("ps", "temp")) is None


def test_mixing_is_counted_by_decoded_tokens() -> None:
    series = [[-1.0, -2, -1, -2], [-2.0, -1, -2, -1], [-1.0, -1, -1, -1]] * 2
    grades = study()
    grades["log_p_by_move"] = None
    of_ladder = grades.index[grades["condition"] == "tempering"]
    for index, values in zip(of_ladder, series, strict=True):
        grades.at[index, "log_p_by_move"] = values
    by_name = {row.condition: row for row in mixing(grades, CONDITIONS)}
    assert set(by_name) == {"ps", "tempering", "csmc"}
    ladder = by_name["tempering"]
    assert ladder.moved_per_thousand == pytest.approx(1000 * 4 / 240)
    draws = 2 * effective_draws(np.array(series[:3]))
    assert ladder.effective_per_thousand == pytest.approx(1000 * draws / (6 * 240))
    assert ladder.still == 0
    (swap,) = ladder.swaps
    assert (swap.alpha, swap.rate) == (2.0, pytest.approx(4 / 16))
    particles = by_name["csmc"]
    assert particles.effective_particles == pytest.approx(1 / (0.3**2 + 0.6**2 + 0.1**2))
    assert (particles.particles, particles.effective_per_thousand) == (3, None)


def test_what_makes_no_moves_has_no_rate_of_changes() -> None:
    weighed = [particle(0.4), particle(0.3)]
    rows = graded("csmc", [[1, 0]], moves=0, replicas=weighed, decoded_tokens=9)
    (row,) = mixing(pd.DataFrame(rows), conditions("csmc"))
    assert row.moved_per_thousand is None
    assert row.particles == 3


def test_problems_whose_log_p_never_varies_are_counted_apart() -> None:
    rows = graded("ps", [[1, 0], [1, 0]], moves=4, log_p_by_move=[-1.0] * 4, decoded_tokens=100)
    rows[2]["log_p_by_move"] = [-1.0, -2.0, -1.0, -2.0]
    (row,) = mixing(pd.DataFrame(rows), conditions("ps"))
    assert row.still == 1
    draws = effective_draws(np.array([rows[2]["log_p_by_move"], [-1.0] * 4]))
    assert row.effective_per_thousand == pytest.approx(1000 * draws / 400)
    short = graded("ps", [[1, 0]], moves=3, log_p_by_move=[-1.0, -2, -3])
    assert mixing(pd.DataFrame(short), conditions("ps"))[0].effective_per_thousand is None


def test_what_moves_changed_and_which_strings_are_the_same() -> None:
    plain = {"moves": 8, "accepted": 6, "unchanged": 5}
    rows = [
        *graded("temp", [[1, 1], [1, 1]], string="a"),
        *graded("ps", [[1, 1], [1, 1]], string="a", decoded_tokens=50, **plain),
        *graded("tempering", [[1, 1], [1, 1]], string="a", moved=0, **plain),
    ]
    rows[4]["string"], rows[5]["unchanged"] = "b", 6
    by_name = {
        row.condition: row
        for row in movements(pd.DataFrame(rows), conditions("temp", "ps", "tempering"))
    }
    ps = by_name["ps"]
    assert (ps.moves, ps.moved, ps.unmoved) == (8, 0.75, 0.25)
    assert ps.moved_per_thousand == pytest.approx(1000 * 0.75 / 50)
    assert ps.equal == {"temp": 0.75}
    assert by_name["tempering"].moved == 0
    assert by_name["tempering"].equal == {"temp": 1.0, "ps": 0.75}
    without = pd.DataFrame(rows).drop(columns="string")
    assert movements(without, conditions("ps"))[0].equal == {}


def test_other_strings_are_graded_too(tmp_path: Path) -> None:
    problem = {"problem": "1 + 1?", "answer": "2", "unique_id": "a", "subject": "", "solution": ""}
    write_jsonl(tmp_path / "problems.jsonl", [problem | {"level": None}])
    replicas: list[dict[str, Any]] = [
        {"tokens": [4], "text": r"\boxed{2}", "log_p": -1.0, "finish": "eos", "alpha": 2.0,
         "swaps": 3, "moves": 8},
        {"tokens": [5], "text": r"\boxed{3}", "log_p": -2.0, "finish": "length", "alpha": 3.0},
    ]  # fmt: skip
    counts = dict.fromkeys(
        ["decoded_tokens", "moves", "accepted", "unchanged", "early_rejected"], 0
    )
    record = counts | {
        "problem_id": "a", "sample": 0, "completion": "none", "tokens": [4, 5], "n_tokens": 2,
        "finish": "eos", "log_p": -3.0, "log_t": -6.0, "seconds": 0.0, "key": "",
        "accepted_by_block": [], "log_t_by_block": [],
    }  # fmt: skip
    several = record | {"replicas": replicas, "token_certainty": [1.0, 3.0]}
    strings = []
    for name, line in (("one", record), ("several", several)):
        write_jsonl(tmp_path / f"{name}.jsonl", [line])
        out = tmp_path / f"{name}-graded.jsonl"
        grade_records(
            tmp_path / f"{name}.jsonl", tmp_path / "problems.jsonl", out,
            parse_grader({"grader": "integer"}), 1,
        )  # fmt: skip
        (grade,) = read_jsonl(out)
        assert grade["correct"] is False
        strings.append(grade["string"])
    assert [(r["answer"], r["correct"], r["alpha"]) for r in grade["replicas"]] == [
        ("2", True, 2.0), ("3", False, 3.0),
    ]  # fmt: skip
    assert grade["certainty"] == 2.0
    assert strings[0] == strings[1]
    assert not {"replicas", "certainty"} & read_jsonl(tmp_path / "one-graded.jsonl")[0].keys()
