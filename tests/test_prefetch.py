"""What benchmarks/prefetch.py computes: steps as they were, and as they would be gone ahead."""

import sys

import pytest

from small_study import ROOT
from table_model import TableModel

sys.path.insert(0, str(ROOT / "benchmarks"))
import prefetch
from prefetch import Generated, Step, if_all_are_rejected, replayed, whatever_is_decided

RIDGE = 16
ALWAYS = 1.0


def extension(cut: int, steps: int) -> Generated:
    return Generated(cut, False, True, False, [Step(1, 1)] * steps)


def move(cut: int, steps: int, accepted: bool, foreseen: bool = False) -> Generated:
    return Generated(cut, True, accepted, foreseen, [Step(1, 1)] * steps)


REJECTED = [extension(0, 4), move(1, 3, False), move(2, 2, False), extension(4, 4)]
ACCEPTED = [extension(0, 4), move(1, 3, True), move(2, 2, True), extension(4, 4)]


def test_without_free_rows_a_job_takes_the_steps_of_its_longest_chain() -> None:
    found = replayed([REJECTED, REJECTED[:1]], 2, RIDGE, chance=0.0)
    assert found.fed == [2] * 4 + [1] * 9
    assert found.time(RIDGE) == 17 + 13 * RIDGE


@pytest.mark.parametrize(("history", "passes"), [(REJECTED, 10), (ACCEPTED, 13)])
def test_what_was_generated_ahead_is_kept_where_the_move_is_rejected(
    history: list[Generated], passes: int
) -> None:
    """Beside the first move of three steps are made the second, of two, and one of what follows."""
    assert replayed([history], 2, RIDGE, ALWAYS).passes == passes


def test_what_is_thrown_away_is_fed_all_the_same() -> None:
    found = replayed([ACCEPTED], 2, RIDGE, ALWAYS)
    assert found.fed == [1] * 4 + [2] * 5 + [1] * 4


def test_what_is_foreseen_is_kept_whatever_becomes_of_the_move() -> None:
    """Of two steps beside an accepted move of three; what then follows depends on it."""
    history = [extension(0, 4), move(2, 3, True), move(1, 2, True, foreseen=True), move(0, 5, True)]
    found = replayed([history], 2, RIDGE, ALWAYS)
    assert found.fed == [1] * 4 + [2] * 3 + [1] * 5
    assert prefetch.chance_to_be_kept([history]) == 3 / 5


def test_beside_an_extension_only_what_is_foreseen_can_begin() -> None:
    history = [extension(0, 4), extension(4, 4), move(1, 2, False, foreseen=True)]
    assert replayed([history], 2, RIDGE, ALWAYS).fed == [1] * 4 + [2] * 2 + [1] * 2


def test_a_row_goes_ahead_only_where_it_is_free_and_where_that_pays() -> None:
    assert replayed([REJECTED], 1, RIDGE, ALWAYS).passes == 13
    assert replayed([REJECTED], 2, RIDGE, 1 / 17).passes == 10
    assert replayed([REJECTED], 2, RIDGE, 0.99 / 17).passes == 13


def test_a_row_is_free_when_another_chain_is_done() -> None:
    assert replayed([REJECTED, REJECTED[:2]], 2, RIDGE, ALWAYS).passes == 4 + 3 + 4
    assert replayed([REJECTED, REJECTED[:1]], 2, RIDGE, ALWAYS).passes == 10


def test_bounds_follow_what_proposals_depend_on() -> None:
    assert if_all_are_rejected(REJECTED) == 4 + max(3, 2, 4)
    assert if_all_are_rejected(ACCEPTED) == 13
    # The moves begin when one token and two are drawn, the second extension with the last of them.
    assert whatever_is_decided(REJECTED) == 4 + 4
    assert whatever_is_decided([extension(0, 4), move(1, 3, True), extension(4, 4)]) == 1 + 3 + 4


@pytest.mark.parametrize("way", prefetch.WAYS, ids=lambda way: way.name)
def test_recorded_chains_take_the_steps_of_their_job(
    way: prefetch.Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the benchmark refuses them; no bound is above what a row that goes ahead can save."""
    monkeypatch.setattr(
        prefetch, "DECODING", {"alpha": 2.0, "max_new_tokens": 12, "blocks": 2, "steps": 4}
    )
    model = TableModel(seed=3, vocabulary=3, eos=1, longest=12, prompt_tokens=2)
    job = prefetch.recorded(model, [[0, 2], [2, 2], [2, 0]], way)
    assert len(job) == 3
    for history in job:
        steps = sum(len(generated.steps) for generated in history)
        ahead = replayed([history], 2, way.ridge, ALWAYS).passes
        assert whatever_is_decided(history) <= ahead <= steps
        assert whatever_is_decided(history) <= if_all_are_rejected(history) <= steps
