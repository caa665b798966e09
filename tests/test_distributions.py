"""The distributions of one token: what is drawn, how often, and what it is said to be worth."""

import math
from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

import enumeration
import tiny
from enumeration import Floats, chi_squared, log_softmax
from powerblend import Model, sample
from powerblend.blends import LayerBlend
from powerblend.engine import distributions
from powerblend.engine.batch import StepInputs
from powerblend.engine.chain import Trace, log_acceptance
from powerblend.engine.distributions import (
    NO_TOKEN,
    Logits,
    greedy,
    inverse_cdf,
    power,
    temperature,
)

SIZES = (1, 5, 255, 256, 257, 272, 50_000)
LARGEST_UNIFORM = 1 - 2.0**-53


@pytest.fixture(params=[True, False], ids=["compiled", "torch"], autouse=True)
def compiled_sums(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a loop of one core, where the vocabulary fits it, or by torch's operations."""
    threads = 1 if request.param else 2
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)


def random_logits(rows: int, vocabulary: int, seed: int = 0, scale: float = 3.0) -> Tensor:
    random = np.random.default_rng(seed)
    return torch.from_numpy(random.normal(scale=scale, size=(rows, vocabulary)))


def random_uniforms(rows: int, seed: int = 1) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).random(rows))


def nothing(rows: int) -> Tensor:
    return torch.full((rows,), NO_TOKEN)


def inverse_cdf_by_numpy(z: Floats, alpha: float, uniform: float, current: int) -> int:
    q = np.exp(log_softmax(alpha * z))
    order = [i for i in [current, *range(len(q))] if i >= 0]
    order = order if current < 0 else [current, *(i for i in order[1:] if i != current)]
    return int(order[np.searchsorted(q[order].cumsum(), uniform * q.sum(), side="right")])


@pytest.mark.parametrize("vocabulary", SIZES)
@pytest.mark.parametrize("held", [True, False])
@pytest.mark.parametrize("alpha", [0.5, 1.0, 1.5, 4.0])
def test_inverse_cdf_is_that_of_numpy(vocabulary: int, held: bool, alpha: float) -> None:
    rows = 64 if vocabulary < 1000 else 16
    z, uniforms = random_logits(rows, vocabulary), random_uniforms(rows)
    current = torch.from_numpy(np.random.default_rng(2).integers(vocabulary, size=rows))
    if held:
        current[::2] = z[::2].argmax(-1)  # so that many draws stay
    else:
        current = nothing(rows)
    token, log_q, log_p = inverse_cdf(z.clone(), alpha, uniforms, current)
    expected = [
        inverse_cdf_by_numpy(*row)
        for row in zip(z.numpy(), [alpha] * rows, uniforms.tolist(), current.tolist(), strict=True)
    ]
    assert token.tolist() == expected
    reference = log_softmax(alpha * z.numpy())[np.arange(rows), expected]
    np.testing.assert_allclose(log_q.numpy(), reference, atol=1e-6)
    reference = log_softmax(z.numpy())[np.arange(rows), expected]
    np.testing.assert_allclose(log_p.numpy(), reference, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("alpha", [0.5, 1.0, 4.0])
def test_sums_of_a_loop_are_those_of_torch(
    alpha: float, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where most of what is summed is nothing, and in a last block that is not full."""
    logits = random_logits(5, 50_016).to(dtype) * torch.tensor([[0.0], [1], [3], [30], [900]])
    logits = logits.to(dtype)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    if not distributions.sums_blocks(logits, distributions.CDF_BLOCK):
        pytest.skip("this processor does not multiply and add in one operation")
    ours = distributions._sums(logits.t().contiguous().t(), (alpha,))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    theirs = distributions._sums(logits, (alpha,))
    tolerance = 100 * torch.finfo(dtype).eps
    assert ours.by_block.shape == (5, 1, 196)
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=tolerance, atol=1e-30)


@pytest.mark.parametrize("strange", [math.nan, math.inf])
def test_what_is_no_logit_makes_no_probability(strange: float) -> None:
    """So that whoever sums up an answer notices."""
    logits = random_logits(2, 512)
    logits[1, 300] = strange
    _, log_q, log_p = inverse_cdf(logits, 1.5, random_uniforms(2), nothing(2))
    assert log_p.isnan().tolist() == [False, True]
    assert log_q[0].isfinite()


def test_a_banned_token_is_a_logit_too() -> None:
    logits = random_logits(2, 512)
    logits[:, 300] = -math.inf
    _, log_q, log_p = inverse_cdf(logits, 1.5, random_uniforms(2), nothing(2))
    assert log_p.isfinite().all()
    assert log_q.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("vocabulary", [5, 257, 50_000])
def test_a_token_of_no_weight_is_never_drawn(vocabulary: int, dtype: torch.dtype) -> None:
    """Neither by a uniform at either end of [0, 1), nor because the current string holds it."""
    alive = vocabulary // 2
    z = torch.full((8, vocabulary), -1e4, dtype=dtype)
    z[:, alive] = 0.0
    uniforms = torch.tensor([0.0, 1e-12, 0.5, LARGEST_UNIFORM] * 2, dtype=torch.float64)
    current = torch.tensor([NO_TOKEN] * 4 + [vocabulary - 1] * 4)
    token, log_q, _ = inverse_cdf(z, 4.0, uniforms, current)
    assert token.tolist() == [alive] * 8
    assert log_q.abs().max() < 1e-6


@pytest.mark.parametrize("vocabulary", [5, 257])
def test_a_draw_stays_exactly_when_the_uniform_is_below_the_current_tokens_probability(
    vocabulary: int,
) -> None:
    z = random_logits(1, vocabulary)
    q = np.exp(log_softmax(2.0 * z.numpy()))[0]
    for current in np.argsort(q)[-3:].tolist():
        uniforms = torch.tensor([0.0, q[current] - 1e-9, q[current] + 1e-9, LARGEST_UNIFORM])
        held = torch.full((4,), current)
        token, *_ = inverse_cdf(z.expand(4, -1), 2.0, uniforms.double(), held)
        assert (token == current).tolist() == [True, True, False, False]


def test_the_coupling_with_the_current_token_keeps_the_distribution() -> None:
    z, draws = random_logits(1, 6, seed=5, scale=1.0), 20_000
    q = np.exp(log_softmax(z.numpy()))[0]
    for current in range(6):
        held = torch.full((draws,), current)
        token, *_ = inverse_cdf(z.expand(draws, -1), 1.0, random_uniforms(draws, current), held)
        assert chi_squared(np.bincount(token.numpy(), minlength=6), q) > 1e-3


@pytest.mark.parametrize("proposal", ["base", "target"])
def test_the_weight_of_an_unblended_token_is_the_log_sum_of_powers(
    proposal: Literal["base", "target"],
) -> None:
    """log t - log q = log sum p^alpha: whatever token is drawn, and never positive."""
    z = random_logits(1, 300)
    for alpha in (1.0, 1.3, 4.0):
        expected = np.log(np.exp(alpha * log_softmax(z.numpy())).sum())
        same = z.expand(200, -1)
        draw = power(Logits(same, same), random_uniforms(200), nothing(200), alpha, proposal)
        assert len(draw.token.unique()) > 1
        np.testing.assert_allclose(draw.log_weight.numpy(), expected, atol=1e-9)
        assert expected <= 1e-12


@pytest.mark.parametrize("proposal", ["base", "target"])
def test_a_blended_token_is_worth_log_t_minus_log_q(proposal: Literal["base", "target"]) -> None:
    base, target = random_logits(50, 30, seed=1), random_logits(50, 30, seed=2)
    draw = power(Logits(base, target), random_uniforms(50), nothing(50), 2.5, proposal)
    drawn = (np.arange(50), draw.token.numpy())
    source = target if proposal == "target" else base
    log_q = log_softmax(2.5 * source.numpy())[drawn]
    log_t = 2.5 * log_softmax(target.numpy())[drawn]
    np.testing.assert_allclose(draw.log_p, log_softmax(base.numpy())[drawn], atol=1e-9)
    np.testing.assert_allclose(draw.log_q, log_q, atol=1e-9)
    np.testing.assert_allclose(draw.log_weight, log_t - log_q, atol=1e-9)
    if proposal == "target":
        assert draw.log_weight.max() <= 0


def test_greedy_and_temperature_report_their_own_distributions() -> None:
    base, target = random_logits(40, 30, seed=1), random_logits(40, 30, seed=2)
    logits, rows = Logits(base, target), np.arange(40)
    best, warm = greedy(logits), temperature(logits, random_uniforms(40), nothing(40), 0.7)
    np.testing.assert_array_equal(best.token, target.numpy().argmax(-1))
    np.testing.assert_allclose(
        best.log_q + best.log_weight, log_softmax(target.numpy())[rows, best.token], atol=1e-9
    )
    np.testing.assert_allclose(
        warm.log_q + warm.log_weight, log_softmax(target.numpy() / 0.7)[rows, warm.token], atol=1e-9
    )
    for draw in (best, warm):
        np.testing.assert_allclose(
            draw.log_p, log_softmax(base.numpy())[rows, draw.token], atol=1e-9
        )


def test_at_alpha_one_only_the_lengths_decide() -> None:
    def drawn(length: int, seed: int) -> Trace:
        z = random_logits(length, 7, seed)
        draw = power(Logits(z, z), random_uniforms(length, seed), nothing(length), 1.0, "base")
        return Trace(*(column.numpy() for column in draw[:4]))

    for lengths in ((5, 5), (5, 3), (2, 6)):
        r = log_acceptance(drawn(lengths[0], 1), drawn(lengths[1], 2), cut=1)
        assert r == pytest.approx(np.log(lengths[0] / lengths[1]), abs=1e-12)


def test_every_move_is_accepted_at_alpha_one_when_lengths_agree() -> None:
    """Answers of one token, EOS or not, have one length, and the proposal is the target."""
    decoding = {"sampler": "power", "alpha": 1.0, "max_new_tokens": 1, "blocks": 1, "steps": 8}
    model = Model(tiny.transformer(), None, [tiny.EOS])
    for answer in sample(model, [tiny.PROMPT], decoding, samples=20)[0]:
        assert answer.accepted == answer.moves == 8
        assert answer.unchanged < 8


BLENDS = [
    {"source": "layer", "layer": layer, "norm": norm, "beta": beta}
    for layer in (0, 1)
    for norm in ("none", "final")
    for beta in (0.3, -0.2, 1.0)
]


@pytest.mark.parametrize("blend", BLENDS)
def test_a_blend_in_the_logits_is_a_blend_in_the_hidden_state(
    blend: dict[str, Any], hf: PreTrainedModel, model: Model
) -> None:
    """And `Model.step` gives it, with hidden_states[layer + 1] as transformers counts them."""
    answer = (0, 3, 2, 2)
    base, folded = enumeration.transformer_logits(hf, tiny.PROMPT, blend)([answer])
    prompt = torch.tensor([tiny.PROMPT])
    cache = model.cache(1, 8)
    model.prefill(cache, slice(0, 1), torch.tensor([0]), prompt[:, :-1])
    for k, token in enumerate([tiny.PROMPT[-1], *answer[:-1]]):
        position = len(tiny.PROMPT) - 1 + k
        fed, at = torch.tensor([token]), torch.tensor([position])
        inputs = StepInputs(fed, at, torch.tensor([k]), position + 1)
        logits = model.step(cache, inputs, LayerBlend.model_validate(blend))
        np.testing.assert_allclose(logits.base.numpy()[0], base[0, k], atol=1e-9)
        np.testing.assert_allclose(logits.target.numpy()[0], folded[0, k], atol=1e-9)


@pytest.mark.parametrize("rows", [1, 48])
@pytest.mark.parametrize("proposal", ["base", "target"])
def test_log_t_is_a_function_of_the_answer_alone(
    rows: int, proposal: str, hf: PreTrainedModel, model: Model
) -> None:
    """Reached by extension or from any cut, alone or in company, it is what enumeration says."""
    blend = {"source": "layer", "layer": 1, "norm": "final", "beta": 0.3}
    decoding = {
        "sampler": "power",
        "alpha": 1.5,
        "max_new_tokens": 4,
        "blocks": 2,
        "steps": 3,
        "proposal": proposal,
        "blend": blend,
    }
    prompts = [tiny.PROMPT, [3], [0, tiny.EOS, 2, 2, 3]]
    answers = sample(model, prompts, decoding, samples=60 if rows > 1 else 8, rows=rows)
    assert len({tuple(a.tokens) for chains in answers for a in chains}) > 8
    for prompt, chains in zip(prompts, answers, strict=True):
        logits = enumeration.transformer_logits(hf, prompt, blend)
        space = enumeration.enumerate_space(logits, tiny.VOCABULARY, tiny.EOS, 1.5, proposal, cap=4)
        index = {s: i for i, s in enumerate(space.strings)}
        which = [index[tuple(a.tokens)] for a in chains]
        np.testing.assert_allclose([a.log_t for a in chains], space.log_t.sum(1)[which], atol=1e-9)
        np.testing.assert_allclose([a.log_p for a in chains], space.log_p.sum(1)[which], atol=1e-9)
        assert all(a.log_t == a.log_t_by_block[-1] for a in chains)
