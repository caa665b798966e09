"""A chain depends on its seed, prompt and number, and on nothing else that happens around it.

In float64, where no uniform falls into the gap between two roundings of a probability.
"""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

import enumeration
import tiny
from equality import nearly, records
from powerblend import Model, load_model, sample
from powerblend.engine.scheduler import Step
from powerblend.samplers import Power

POWER = {
    "sampler": "power",
    "alpha": 3.0,
    "max_new_tokens": 12,
    "blocks": 3,
    "steps": 4,
    "blend": {"source": "layer", "layer": 1, "norm": "final", "beta": 0.4},
}
DECODINGS: dict[str, dict[str, Any]] = {
    "ps": {k: v for k, v in POWER.items() if k != "blend"},
    "blend_ps": POWER,
    "temp": {"sampler": "temperature", "temperature": 1.0, "max_new_tokens": 12},
    "published": POWER | {"mh": "published"},
}
# Lengths from 1 on, a common start, a prompt that begins another, and EOS inside and at the end.
PROMPTS = [[5], [5, 7, 9], [5, 7, 9, 11, 13, 2], [5, 7, 8], [6, tiny.EOS], [tiny.EOS, 3, 3, 4]]
SAMPLES = 2


@pytest.fixture(scope="module", params=["qwen3", pytest.param("llama", marks=pytest.mark.slow)])
def hf(request: pytest.FixtureRequest) -> PreTrainedModel:
    return tiny.transformer(request.param, seed=5, vocabulary=16)


@pytest.fixture(scope="module")
def model(hf: PreTrainedModel) -> Model:
    return load_model(hf)


Chains = list[list[dict[str, Any]]]


def chains(
    model: Model, prompts: Sequence[list[int]], decoding: dict[str, Any], **how: Any
) -> Chains:
    """Everything about the answers but their share of the clock."""
    settings = {"samples": SAMPLES, "seed": 11} | how
    return [records([row]) for row in sample(model, prompts, decoding, **settings)]


def assert_same(got: Chains, expected: Chains, but: Sequence[str] = ()) -> None:
    """Equal tokens, decisions and counts, and log-probabilities to the tolerance."""
    flat, flat_expected = ([record for row in rows for record in row] for rows in (got, expected))
    for a, b in zip(flat, nearly(flat_expected), strict=True):
        for key in set(b) - set(but):
            assert a[key] == b[key], key


@pytest.mark.parametrize("decoding", DECODINGS.values(), ids=DECODINGS)
def test_the_number_of_rows_changes_nothing(decoding: dict[str, Any], model: Model) -> None:
    alone, few, all_ = (chains(model, PROMPTS, decoding, rows=rows) for rows in (1, 3, 64))
    assert_same(few, alone)
    assert_same(all_, alone)


def test_order_and_company_change_nothing(model: Model) -> None:
    expected = chains(model, PROMPTS, POWER, rows=5)
    backwards = chains(model, PROMPTS[::-1], POWER, rows=5)
    assert_same(backwards[::-1], expected)
    for prompt, alone in zip(PROMPTS, expected, strict=True):
        assert_same(chains(model, [prompt], POWER, rows=5), [alone])


def test_more_samples_begin_with_the_fewer(model: Model) -> None:
    few, more = (chains(model, PROMPTS, POWER, samples=n, rows=7) for n in (1, SAMPLES))
    assert_same([row[:1] for row in more], few)


@pytest.mark.parametrize("common", [1, 9])
def test_a_prefix_shared_by_all_prompts_changes_nothing(common: int, model: Model) -> None:
    shots = [4, 6, tiny.EOS, 8, 10, 12, 14, 3, 5][:common]
    prompts = [shots + prompt for prompt in PROMPTS]
    together = chains(model, prompts, POWER, samples=2, rows=64)
    alone = [chains(model, [p], POWER, samples=2, rows=1)[0] for p in prompts]
    assert_same(together, alone)
    # With a prompt that ends where the others go on.
    assert_same(chains(model, [shots, *prompts], POWER, samples=2, rows=5)[1:], alone)


def test_seeds_samples_and_repeated_prompts_differ(model: Model) -> None:
    prompts = [PROMPTS[1]] * 4
    out = chains(model, prompts, POWER, samples=4, seed=1)
    out += chains(model, prompts, POWER, samples=4, seed=2)
    tokens = [tuple(c["tokens"]) for row in out for c in row]
    # Peaked distributions repeat themselves now and then, but 32 chains are not a few.
    assert len(set(tokens)) > 16
    assert_same(chains(model, prompts, POWER, samples=4, seed=1), out[:4])
    assert_same(chains(model, prompts[:2], POWER, samples=4, seed=1), out[:2])


def log_p(hf: PreTrainedModel, prompt: list[int], tokens: list[int]) -> float:
    """Of an answer, from scratch."""
    base, _ = enumeration.transformer_logits(hf, prompt)([tuple(tokens)])
    log_probs = enumeration.log_softmax(base[0])
    return float(sum(log_probs[k, token] for k, token in enumerate(tokens)))


def test_an_eos_in_the_prompt_does_not_end_the_answer(hf: PreTrainedModel, model: Model) -> None:
    prompts = [[tiny.EOS], [6, tiny.EOS], [tiny.EOS] * 3, [6, tiny.EOS, 7]]
    for prompt, answers in zip(prompts, sample(model, prompts, POWER, samples=8), strict=True):
        assert max(a.n_tokens for a in answers) > 1
        for a in answers:
            assert a.prompt_tokens == len(prompt)
            assert (a.finish == "eos") == (a.tokens[-1] == tiny.EOS)
            assert tiny.EOS not in a.tokens[:-1]
            assert a.log_p == pytest.approx(log_p(hf, prompt, a.tokens), abs=1e-9)


@pytest.mark.parametrize("rows", [1, 5, 64])
def test_rejected_proposals_leave_no_trace_in_the_cache(
    rows: int, hf: PreTrainedModel, model: Model
) -> None:
    decoding = POWER | {"alpha": 6.0, "blocks": 2, "steps": 8}
    out = sample(model, PROMPTS, decoding, samples=SAMPLES, rows=rows)
    answers = [a for row in out for a in row]
    moves, accepted = sum(a.moves for a in answers), sum(a.accepted for a in answers)
    assert moves == 16 * len(answers)
    assert 0.1 * moves < accepted < 0.9 * moves
    for prompt, row in zip(PROMPTS, out, strict=True):
        for a in row:
            assert a.log_p == pytest.approx(log_p(hf, prompt, a.tokens), abs=1e-9)


@pytest.mark.parametrize("decoding", ["ps", "blend_ps", "blend_ps_target", "published"])
def test_saving_work_changes_no_decision(
    decoding: str, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Skipping what a proposal shares with the state, and giving up what cannot be accepted."""
    settings = (DECODINGS | {"blend_ps_target": POWER | {"proposal": "target"}})[decoding]
    saving = chains(model, PROMPTS, settings)
    schedule = Power.schedule
    monkeypatch.setattr(
        Power, "schedule", lambda self: schedule(self)._replace(skip=False, early=False)
    )
    full = chains(model, PROMPTS, settings)
    assert_same(saving, full, but=("decoded_tokens", "early_rejected"))
    work, all_work = (sum(c["decoded_tokens"] for r in out for c in r) for out in (saving, full))
    assert work < all_work
    early = sum(c["early_rejected"] for row in saving for c in row)
    assert (early > 0) == (decoding in ("ps", "blend_ps_target"))


def test_the_caller_s_model_is_left_as_it_was() -> None:
    hf = tiny.transformer(vocabulary=16).train()
    prompt = torch.tensor([[5, 7, 9]])
    settings: dict[str, Any] = {"do_sample": False, "max_new_tokens": 8, "pad_token_id": 0}

    def state() -> tuple[Any, ...]:
        weights = [(n, id(p), p.requires_grad, p.sum().item()) for n, p in hf.named_parameters()]
        modes = [m.training for m in hf.modules()]
        hooks = [len(m._forward_hooks) for m in hf.modules()]
        implementation = hf.config._attn_implementation
        return implementation, hf.config.to_dict(), weights, modes, hooks

    before, generated = state(), hf.generate(prompt, **settings).tolist()
    sample(load_model(hf), [[5, 7, 9]], POWER)
    assert state() == before
    assert hf.generate(prompt, **settings).tolist() == generated


@pytest.mark.parametrize("speculate", ["off", "auto"])
def test_the_work_is_counted_and_the_clock_shared_out(model: Model, speculate: Any) -> None:
    """passes sum to the rows that were stepped, as decoded_tokens do where none are guessed.

    And seconds to the time that it took.
    """
    steps: list[int] = []
    step = Step.__call__

    def counting(self: Step, live: int, length: int, width: int) -> torch.Tensor:
        steps.append(live)
        return step(self, live, length, width)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Step, "__call__", counting)
        out = sample(model, PROMPTS, POWER, 2, rows=5, speculate=speculate)
    answers = [a for row in out for a in row]
    assert sum(a.passes for a in answers) == sum(steps)
    assert (sum(a.decoded_tokens for a in answers) == sum(steps)) == (speculate == "off")
    assert all(a.seconds > 0 for a in answers)
