"""The chain's bookkeeping on hand-made traces: stages, caps, cuts, decisions, random numbers."""

import hashlib
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from scipy.stats import binomtest

from enumeration import chi_squared
from powerblend.engine.chain import Chain, Proposal, Schedule, Trace, log_acceptance
from powerblend.engine.endings import Ending
from powerblend.engine.randomness import Role, Stream

EOS = 0
SCHEDULE = Schedule(max_new_tokens=12, blocks=3, steps=2)


def new_chain(schedule: Schedule = SCHEDULE, sample: int = 0) -> Chain:
    return Chain(schedule, Stream(0, "problem", sample), Ending([EOS, 9]))


def trace(tokens: Sequence[int], log_weight: float = 0.0, q: float = 1e-30) -> Trace:
    """Tokens of one log weight, and of a probability ``q`` that no move stays on."""
    n = len(tokens)
    log_q = np.full(n, math.log(q))
    return Trace(np.array(tokens, np.int64), log_q, log_q.copy(), np.full(n, log_weight))


def proposed(chain: Chain) -> Proposal:
    proposal = chain.propose()
    assert proposal is not None
    return proposal


def fill(proposal: Proposal, token: int = 5, log_weight: float = 0.0) -> Trace:
    return trace([token] * (proposal.cap - proposal.cut), log_weight)


def test_a_chain_extends_to_each_cap_and_then_moves_below_it() -> None:
    chain = new_chain()
    for cap in (4, 8, 12):
        extension = proposed(chain)
        assert (extension.cut, extension.cap) == (cap - 4, cap)
        assert len(extension.current) == 0
        assert chain.decide(fill(extension))
        for _ in range(2):
            move = proposed(chain)
            assert 0 <= move.cut < cap == move.cap
            assert len(move.uniforms) == cap - move.cut
            np.testing.assert_array_equal(move.current, chain.state.tokens[move.cut :])
            chain.decide(fill(move, token=cap))
    assert chain.propose() is None
    assert chain.moves.proposed == 6
    assert sum(chain.accepted_by_block) == chain.moves.accepted
    assert len(chain.accepted_by_block) == len(chain.log_t_by_block) == 3
    assert not chain.ended


def test_plain_decoding_is_one_extension() -> None:
    chain = new_chain(Schedule(6))
    assert proposed(chain)[:2] == (0, 6)
    assert chain.decide(trace([3, 9]))
    assert chain.ended
    assert chain.propose() is None
    assert chain.decoded_tokens == 2


def test_an_answer_that_has_ended_keeps_moving_and_may_grow() -> None:
    chain = new_chain()
    proposed(chain)
    chain.decide(trace([5, EOS], log_weight=-9.0))
    for stage, cap in enumerate((4, 8, 12)):
        for _ in range(2):
            move = proposed(chain)
            assert (stage, move.cap) == (stage, cap)
            assert move.cut < len(chain.state)
            assert len(move.current) > 0
            # Better and better, so that it is accepted, and ended, so that no stage extends it.
            before = len(chain.state)
            suffix = [5] * (cap - move.cut - 1) + [EOS]
            assert chain.decide(trace(suffix, log_weight=100.0 * stage))
            assert len(chain.state) == cap >= before
    assert chain.propose() is None
    assert chain.ended


def test_published_moves_cannot_outgrow_the_state_and_stop_at_the_first_eos() -> None:
    chain = new_chain(SCHEDULE._replace(mh="published"))
    chain.decide(fill(proposed(chain)))
    for _ in range(2):
        move = proposed(chain)
        assert move.cap == 4
        chain.decide(fill(move))
    assert proposed(chain)[:2] == (4, 8)
    chain.decide(trace([5, 5, EOS]))
    for _ in range(2):
        move = proposed(chain)
        assert move.cap == len(chain.state) == 7
        chain.decide(trace(chain.state.tokens[move.cut :].tolist()))
    assert chain.ended
    assert chain.propose() is None
    assert len(chain.log_t_by_block) == 2


def test_published_extensions_add_a_block_to_what_there_is() -> None:
    """As the reference code does, to a state that has shrunk and lost its EOS."""
    chain = new_chain(SCHEDULE._replace(mh="published", steps=1))
    proposed(chain)
    chain.decide(trace([5, EOS], log_weight=-9.0))
    move = proposed(chain)
    chain.decide(fill(move))
    assert not chain.ended
    assert len(chain.state) == 2
    assert proposed(chain)[:2] == (2, 6)


def test_the_ratio_is_of_whole_suffixes_and_of_cut_probabilities() -> None:
    x, y = trace([1, 2, 3, 4, EOS], log_weight=-0.5), trace([1, 2, EOS], log_weight=-0.25)
    lengths = math.log(5) - math.log(3)
    assert log_acceptance(x, y, 1) == pytest.approx(-0.5 + 2.0 + lengths)
    assert log_acceptance(y, x, 1) == pytest.approx(-2.0 + 0.5 - lengths)
    assert log_acceptance(x, y, 1, "published") == pytest.approx(-0.5 + 1.0)
    assert log_acceptance(x, x, 0) == 0


@pytest.mark.parametrize("r", [0.1, -0.2, -1.2, -3.0])
def test_a_proposal_is_accepted_with_probability_min_1_exp_r(r: float) -> None:
    accepted = 0
    for sample in range(2000):
        chain = new_chain(Schedule(1, 1, 1), sample)
        proposed(chain)
        chain.decide(trace([5]))
        proposed(chain)
        accepted += chain.decide(trace([6], log_weight=r))
        assert chain.state.tokens.tolist() == [6 if chain.moves.accepted else 5]
    probability = min(1.0, math.exp(r))
    assert accepted == 2000 if r > 0 else binomtest(accepted, 2000, probability).pvalue > 1e-3


def test_cuts_are_uniform_over_the_state() -> None:
    cuts = []
    for sample in range(4000):
        chain = new_chain(Schedule(8, 1, 1), sample)
        proposed(chain)
        chain.decide(trace([5] * 4 + [EOS]))
        cuts.append(proposed(chain).cut)
    assert chi_squared(np.bincount(cuts, minlength=5), np.full(5, 0.2)) > 1e-3
    assert max(cuts) == 4


def test_what_was_accepted_is_the_state_and_what_was_rejected_is_not() -> None:
    chain = new_chain(Schedule(4, 1, 3))
    proposed(chain)
    chain.decide(trace([5, 6, 7, 8], log_weight=-1.0))
    assert chain.state.log_t == pytest.approx(4 * (math.log(1e-30) - 1))
    move = proposed(chain)
    assert not chain.decide(trace([4, EOS][: max(1, 4 - move.cut)], log_weight=-1e6))
    assert chain.state.tokens.tolist() == [5, 6, 7, 8]
    move = proposed(chain)
    assert chain.decide(trace([5, 6, 7, 8][move.cut :], log_weight=-1.0))
    move = proposed(chain)
    assert chain.decide(fill(move, token=2, log_weight=50.0))
    assert chain.state.tokens.tolist() == [5, 6, 7, 8][: move.cut] + [2] * (4 - move.cut)
    moves = chain.moves
    assert (moves.proposed, moves.accepted, moves.unchanged) == (3, 2, 1)


def test_a_move_starts_where_its_draws_leave_the_state() -> None:
    """The uniforms are known, and so is the probability of staying on each token."""
    skipped = 0
    for sample in range(200):
        moves = []
        for skip in (False, True):
            chain = new_chain(Schedule(8, 1, 1, skip=skip), sample)
            proposed(chain)
            chain.decide(trace([5] * 8, q=0.8))
            moves.append((chain, chain.propose()))
        (_, whole), (chain, rest) = moves
        assert whole is not None
        leaves = [i for i, u in enumerate(whole.uniforms) if u >= 0.8]
        if rest is None:
            assert not leaves
            assert chain.moves == (1, 1, 1, 0)
            continue
        assert rest.cut == whole.cut + leaves[0]
        np.testing.assert_array_equal(rest.uniforms, whole.uniforms[leaves[0] :])
        np.testing.assert_array_equal(rest.current, whole.current[leaves[0] :])
        skipped += leaves[0]
    assert skipped > 100


def test_the_floor_is_what_a_proposal_must_reach() -> None:
    """So that giving up below it, where no log weight is positive, decides nothing otherwise."""
    decisions = set()
    for sample in range(300):
        chain = new_chain(Schedule(6, 1, 1, early=True), sample)
        proposed(chain)
        chain.decide(trace([5, 5, 5, 5, EOS], log_weight=-0.6))
        move = proposed(chain)
        suffix = fill(move, log_weight=-0.7)
        reached = float(suffix.log_weight.sum()) - math.log(move.cut + len(suffix)) >= move.floor
        assert chain.decide(suffix) == reached
        decisions.add(reached)
    assert decisions == {True, False}


def test_a_proposal_that_was_given_up_is_rejected() -> None:
    chain = new_chain(Schedule(6, 1, 1, early=True))
    proposed(chain)
    chain.decide(trace([5] * 6, log_weight=-1.0))
    move = proposed(chain)
    assert move.cut < 5
    assert not chain.decide(trace([7], log_weight=100.0))
    assert chain.state.tokens.tolist() == [5] * 6
    assert chain.moves == (1, 0, 0, 1)


@pytest.mark.parametrize("column", ["log_p", "log_q", "log_weight"])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_log_probability_that_is_no_number_raises(column: str, bad: float) -> None:
    chain = new_chain()
    proposed(chain)
    suffix = trace([5, 5, 5, 5])
    getattr(suffix, column)[2] = bad
    with pytest.raises(FloatingPointError, match="nan or inf"):
        chain.decide(suffix)


def test_a_decision_needs_a_proposal() -> None:
    chain = new_chain()
    with pytest.raises(RuntimeError, match="without a proposal"):
        chain.decide(trace([5]))
    proposed(chain)
    chain.decide(trace([5] * 4))
    with pytest.raises(RuntimeError, match="without a proposal"):
        chain.decide(trace([5]))


ADDRESSES = [(role, stage, step) for role in Role for stage in (1, 2, 17) for step in (0, 1, 2, 9)]


def test_a_uniform_depends_on_its_address_and_not_on_what_was_drawn_before() -> None:
    forwards, backwards = Stream(3, "a", 0), Stream(3, "a", 0)
    ahead = {address: forwards.uniforms(*address, 50) for address in ADDRESSES}
    for address in reversed(ADDRESSES):
        np.testing.assert_array_equal(backwards.uniforms(*address, 50), ahead[address])
        assert backwards.uniform(*address) == ahead[address][0]


def test_a_longer_request_begins_with_the_shorter_one() -> None:
    stream = Stream(3, "a", 0)
    whole = stream.uniforms(Role.TOKEN, 1, 1, 4096)
    for count in (1, 2, 3, 4, 5, 63, 1000):
        np.testing.assert_array_equal(stream.uniforms(Role.TOKEN, 1, 1, count), whole[:count])


def test_no_number_is_used_twice() -> None:
    """Neither at another address of a chain nor by another seed, problem or sample."""
    names = [(0, "a", 0), (1, "a", 0), (0, "b", 0), (0, "a", 1), (0, "a1", 0), (10, "a", 0)]
    drawn = [Stream(*name).uniforms(*address, 2000) for name in names for address in ADDRESSES]
    numbers = np.concatenate(drawn)
    assert len(np.unique(numbers)) == len(numbers)
    assert 0 <= numbers.min() < 1e-3
    assert 1 - 1e-3 < numbers.max() < 1
    counts = np.histogram(numbers, bins=100, range=(0, 1))[0]
    assert chi_squared(counts, np.full(100, 0.01)) > 1e-3


def test_the_numbers_are_those_of_numpy_s_philox() -> None:
    """A generator made for the address alone, whose key is the hash of the stream's name."""
    key = np.frombuffer(hashlib.sha256(b"3\x1fa\x1f7").digest()[:16], np.uint64)
    for role, stage, step in ADDRESSES:
        address = np.array([0, role, step, stage], np.uint64)
        own = np.random.Generator(np.random.Philox(key=key, counter=address))
        np.testing.assert_array_equal(
            Stream(3, "a", 7).uniforms(role, stage, step, 9), own.random(9)
        )


def test_threads_do_not_disturb_each_other_s_numbers() -> None:
    def drawn(sample: int) -> list[list[float]]:
        stream = Stream(3, "a", sample)
        return [stream.uniforms(*address, 50).tolist() for address in ADDRESSES * 20]

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(drawn, range(8))) == [drawn(sample) for sample in range(8)]
