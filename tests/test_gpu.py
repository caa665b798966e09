"""The same engine on a GPU: recorded steps, decisions that overlap them, kernels in bfloat16."""

import math
from itertools import chain
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

import architectures
import tiny
from equality import nearly, records
from powerblend import Generation, load_model, sample
from powerblend.draft.dflash import Draft
from powerblend.draft.guided import Guided
from powerblend.engine.batch import Batch, StepInputs
from powerblend.engine.endings import Ending
from powerblend.engine.guesses import WIDTHS
from powerblend.engine.scheduler import Step
from powerblend.samplers import parse_sampler

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]

WORDS = 12
POWER = {"sampler": "power", "alpha": 1.5, "max_new_tokens": 24, "blocks": 3, "steps": 4}
LAYER = {"source": "layer", "layer": 1, "beta": 0.2}
CONDITIONS: dict[str, dict[str, Any]] = {
    "ps": {},
    "blend_ps": {"blend": LAYER},
    "blend_ps-target": {"blend": LAYER, "proposal": "target"},
    "draft_blend_ps": {"blend": {"source": "draft", "beta": 0.4}},
}


@pytest.fixture(scope="module")
def hf() -> PreTrainedModel:
    return tiny.transformer(vocabulary=WORDS)


@pytest.fixture(scope="module")
def draft(hf: PreTrainedModel) -> Draft:
    return tiny.draft(hf, block=4)


def answers(device: str, condition: str, rows: int, draft: Draft) -> list[Generation]:
    """Eight answers to each of three prompts."""
    model = load_model(tiny.transformer(vocabulary=WORDS).to(device), draft=draft)
    prompts = [tiny.PROMPT, [3, 3, 2], [2, 0, 3, 3, 5]]
    out = sample(model, prompts, POWER | CONDITIONS[condition], samples=8, rows=rows)
    return [answer for row in out for answer in row]


@pytest.mark.parametrize("rows", [1, 7, 32])
@pytest.mark.parametrize("condition", CONDITIONS)
def test_the_gpu_draws_what_the_cpu_draws(condition: str, rows: int, draft: Draft) -> None:
    """In float64 both see the same random numbers and all but the same distributions.

    They differ by the rounding of the rotation's angles, which are float32 in any model.
    """
    ours, theirs = (answers(device, condition, rows, draft) for device in ("cuda", "cpu"))
    for gpu, cpu in zip(ours, theirs, strict=True):
        assert gpu.tokens == cpu.tokens
        assert gpu.decoded_tokens == cpu.decoded_tokens
        assert gpu.accepted_by_block == cpu.accepted_by_block
        assert gpu.log_t == pytest.approx(cpu.log_t, abs=1e-5)


def test_a_row_that_is_still_to_be_moved_is_read_where_it_will_be(
    draft: Draft, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Moves are queued behind the step under way, which the host does not wait for."""
    move = Batch.move

    def late(rows: Batch, source: int, target: int) -> None:
        torch.cuda._sleep(20_000_000)
        move(rows, source, target)

    expected = [answer.tokens for answer in answers("cpu", "ps", 7, draft)]
    monkeypatch.setattr(Batch, "move", late)
    assert [answer.tokens for answer in answers("cuda", "ps", 7, draft)] == expected


@pytest.mark.parametrize("heads", [4, 16])
def test_bfloat16_gives_the_cpu_s_logits(heads: int) -> None:
    """Every position of rows of unequal length, by the GPU's own attention."""
    like: dict[str, Any] = {"vocabulary": WORDS, "dtype": torch.bfloat16}
    twin = tiny.transformer(**like, num_attention_heads=heads)
    cpu = load_model(tiny.transformer(**like, num_attention_heads=heads).float())
    gpu = load_model(twin.to("cuda"))
    ours, theirs = gpu.cache(3, 8), cpu.cache(3, 8)
    start = torch.tensor([0, 2, 1])
    for offset in range(5):
        tokens, positions = torch.tensor([7, 9, 11]) - offset, start + offset
        inputs = StepInputs(tokens, positions, positions, int(positions.max()) + 1)
        on_gpu = StepInputs(*(column.cuda() for column in inputs[:3]), inputs.length)
        difference = gpu.step(ours, on_gpu).base.cpu() - (z := cpu.step(theirs, inputs).base)
        assert difference.abs().max() < 0.1 * math.sqrt(z.square().mean())


@pytest.mark.parametrize("kind", architectures.ATTENTIONS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_every_kind_of_attention_gives_the_cpu_s_logits(kind: str, dtype: torch.dtype) -> None:
    """Past every window; heads as wide as kernels ask for."""
    family, settings, _ = architectures.ATTENTIONS[kind]
    wide = {"head_dim": 16, "hidden_size": 64}
    if "kv_lora_rank" in settings:
        wide = {"qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 8, "hidden_size": 64}
    twins = [tiny.transformer(family, 6, WORDS, dtype, **settings | wide) for _ in range(2)]
    cpu, gpu = load_model(twins[0].float()), load_model(twins[1].to("cuda"))
    ours, theirs = gpu.cache(3, 16), cpu.cache(3, 16)
    start = torch.tensor([0, 2, 1])
    for offset in range(12):
        tokens, positions = torch.tensor([7, 9, 11]) - offset % 7, start + offset
        inputs = StepInputs(tokens, positions, positions, int(positions.max()) + 1)
        on_gpu = StepInputs(*(column.cuda() for column in inputs[:3]), inputs.length)
        difference = gpu.step(ours, on_gpu).base.cpu() - (z := cpu.step(theirs, inputs).base)
        tolerance = 0.15 if dtype.itemsize == 2 else 1e-3
        assert difference.abs().max() < tolerance * math.sqrt(z.square().mean())


@pytest.mark.parametrize("kind", ["windows", "sinks", "capped scores"])
def test_windows_and_sinks_are_recorded(kind: str) -> None:
    """Through the production path, steps recorded, against a CPU's answers in float32."""
    family, settings, _ = architectures.ATTENTIONS[kind]
    decoding = {"sampler": "greedy", "max_new_tokens": 24}
    prompts = [tiny.PROMPT, [3, 3, 2], [2, 0, 3, 3, 5, 4, 6, 7]]
    ours, theirs = (
        sample(
            load_model(tiny.transformer(family, 6, WORDS, torch.float32, **settings).to(device)),
            prompts,
            decoding,
        )
        for device in ("cuda", "cpu")
    )
    assert [row[0].tokens for row in ours] == [row[0].tokens for row in theirs]


@pytest.mark.parametrize("rows", [1, 3, 16])
@pytest.mark.parametrize("condition", ["ps", "blend_ps", "blend_ps-target"])
def test_guesses_change_no_answer(condition: str, rows: int) -> None:
    """In float64; they save steps."""
    model = load_model(tiny.transformer(vocabulary=WORDS).to("cuda"))
    prompts = [tiny.PROMPT, [3, 3, 2], [2, 0, 3, 3, 5]]
    decoding = POWER | CONDITIONS[condition]
    how: dict[str, Any] = {"samples": 8, "rows": rows}
    guessed = sample(model, prompts, decoding, **how)
    plain = sample(model, prompts, decoding, **how, speculate="off")
    assert records(guessed) == nearly(records(plain))
    saved = [1 - g.passes / p.passes for g, p in zip(chain(*guessed), chain(*plain), strict=True)]
    assert sum(saved) / len(saved) > 0.1


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("condition", ["ps", "blend_ps", "draft_blend_ps"])
def test_a_step_never_waits_for_the_device(
    condition: str, dtype: torch.dtype, width: int, draft: Draft
) -> None:
    """What may be recorded, and is launched ahead, asks the device for nothing."""
    hf = tiny.transformer(vocabulary=WORDS, dtype=dtype)
    model: Any = load_model(hf.to("cuda"), draft=draft)
    sampler = parse_sampler(POWER | CONDITIONS[condition])
    if condition == "draft_blend_ps":
        model = Guided(model)
    with torch.inference_mode():
        cache = model.cache(4, 32)
        ending = Ending(model.eos_token_ids)
        rows = Batch(4, 24, ending, model.device, resting=0, widest=max(WIDTHS))
        rows.put_guesses([[3] * (width - 1), [], [], []])
        step = Step(model, cache, rows, sampler)
        step(4, 32, width)
        torch.cuda.set_sync_debug_mode("error")
        try:
            step(4, 32, width)
        finally:
            torch.cuda.set_sync_debug_mode("default")
