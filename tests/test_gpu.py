"""The same engine on a GPU: recorded steps, decisions that overlap them, kernels in bfloat16."""

import math
from collections.abc import Iterator
from functools import partial
from itertools import chain
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

import architectures
import row_kernels
import tiny
from equality import nearly, records
from powerblend import Generation, Model, load_model, sample
from powerblend.draft.dflash import Draft
from powerblend.draft.guided import Guided
from powerblend.engine import attention, cuda_graphs, gpu_rows
from powerblend.engine.batch import Batch, Guesses, StepInputs
from powerblend.engine.cache import RaggedCache
from powerblend.engine.endings import Ending
from powerblend.engine.guesses import WIDTHS
from powerblend.engine.scheduler import Step
from powerblend.samplers import parse_sampler

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]

WORDS = 12
BEGINNING = 6
"""Tokens that rows have in common."""

WITHOUT_WINDOWS = [
    kind for kind, case in architectures.ATTENTIONS.items() if "sliding_window" not in case.settings
]
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


def on_both(kind: str, dtype: torch.dtype) -> tuple[Model, Model]:
    """The same model in float32 on the CPU and on the GPU; heads as wide as kernels ask for.

    With weights so small that the rounding of 16 bits is small beside what a wrong key does.
    """
    family, settings, _ = architectures.ATTENTIONS[kind]
    changes: dict[str, Any] = {"head_dim": 16, "hidden_size": 64}
    if "kv_lora_rank" in settings:
        changes = {"qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 8, "hidden_size": 64}
    changes = settings | changes | {"initializer_range": 0.05}
    twins = [tiny.transformer(family, 6, WORDS, dtype, **changes) for _ in range(2)]
    return load_model(twins[0].float()), load_model(twins[1].to("cuda"))


@pytest.mark.parametrize("kind", architectures.ATTENTIONS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_every_kind_of_attention_gives_the_cpu_s_logits(kind: str, dtype: torch.dtype) -> None:
    """Past every window."""
    cpu, gpu = on_both(kind, dtype)
    ours, theirs = gpu.cache(3, 16), cpu.cache(3, 16)
    start = torch.tensor([0, 2, 1])
    for offset in range(12):
        tokens, positions = torch.tensor([7, 9, 11]) - offset % 7, start + offset
        inputs = StepInputs(tokens, positions, positions, int(positions.max()) + 1)
        on_gpu = StepInputs(*(column.cuda() for column in inputs[:3]), inputs.length)
        difference = gpu.step(ours, on_gpu).base.cpu() - (z := cpu.step(theirs, inputs).base)
        tolerance = 0.15 if dtype.itemsize == 2 else 1e-3
        assert difference.abs().max() < tolerance * math.sqrt(z.square().mean())


def behind_a_prefix(model: Model, rows: int) -> RaggedCache:
    """A cache whose rows begin with the same `BEGINNING` tokens."""
    one, tokens = model.cache(1, BEGINNING), 2 + torch.arange(BEGINNING)[None]
    model.prefill(one, slice(0, 1), torch.tensor([0]), tokens.to(model.device))
    return model.cache(rows, BEGINNING + 24, one.save(0, 0, BEGINNING))


def even_steps(width: int, device: str) -> Iterator[StepInputs]:
    """Steps of three rows of unequal length, each of which is fed ``width`` tokens."""
    start, later = BEGINNING + torch.tensor([0, 2, 1]), torch.arange(width)
    for offset in range(0, 6 * width, width):
        positions = start[:, None] + offset + later
        tokens = 2 + (positions * torch.tensor([[3], [5], [7]])) % (WORDS - 2)
        guesses = Guesses.of(tokens[:, 1:].tolist(), torch.device(device)) if width > 1 else None
        fed, at = tokens.flatten().to(device), positions.flatten().to(device)
        yield StepInputs(fed, at, at, int(positions.max()) + 1, guesses)


@pytest.mark.parametrize("kind", WITHOUT_WINDOWS)
@pytest.mark.parametrize("width", [1, 3])
@pytest.mark.parametrize("apart", [True, False])
def test_a_common_beginning_apart_or_copied_gives_the_cpu_s_logits(
    kind: str, width: int, apart: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By kernels in bfloat16, as launched and as recorded; the first row begins behind it."""
    monkeypatch.setattr(attention, "MIN_SPARED_BYTES", 0 if apart else math.inf)
    cpu, gpu = on_both(kind, torch.bfloat16)
    theirs, ours = behind_a_prefix(cpu, 3), behind_a_prefix(gpu, 3)
    assert (ours.start > 0) == apart
    stream, memory = torch.cuda.Stream(), torch.cuda.graph_pool_handle()
    for inputs, on_gpu in zip(even_steps(width, "cpu"), even_steps(width, "cuda"), strict=True):
        expected = cpu.step(theirs, inputs).base
        launched = gpu.step(ours, on_gpu).base.cpu()
        # What it writes a second time is the same.
        step = partial(gpu.step, ours, on_gpu)
        recording = cuda_graphs.record(lambda step=step: step().base, stream, memory)
        recording.replay()
        most = 0.15 * math.sqrt(expected.square().mean())
        for found in (launched, recording.outcome.cpu()):
            assert (found - expected).abs().max() < most


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


@pytest.fixture
def kernels() -> None:
    """Skips where Triton does not run."""
    if not gpu_rows.has_kernels(torch.empty(1, device="cuda")):
        pytest.skip("no Triton")


@pytest.mark.parametrize("by_position", [True, False])
@pytest.mark.parametrize("normed", [True, False])
@pytest.mark.parametrize("rows", row_kernels.ROWS)
@pytest.mark.parametrize("heads", row_kernels.HEADS)
@pytest.mark.parametrize("dtype", row_kernels.DTYPES)
def test_heads_are_normed_rotated_and_put_where_they_belong(
    dtype: torch.dtype, heads: str, rows: str, normed: bool, by_position: bool, kernels: None
) -> None:
    case = row_kernels.HEADS[heads], row_kernels.ROWS[rows], dtype, "cuda"
    row_kernels.check_placed(*case, normed=normed, by_position=by_position)


@pytest.mark.parametrize("width", [100, 2560])
@pytest.mark.parametrize("dtype", row_kernels.DTYPES)
def test_sums_are_normed_and_gates_multiplied(
    dtype: torch.dtype, width: int, kernels: None
) -> None:
    row_kernels.check_normed_sum(width, dtype, "cuda")
    row_kernels.check_gated(width, dtype, "cuda")


@pytest.mark.parametrize("family", ["llama", "qwen3"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_recorded_kernels_give_the_logits_of_torch_s_operations(
    family: str, dtype: torch.dtype, kernels: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a step that waits for nothing; a recording reads what is then in its inputs."""
    settings = {"head_dim": 64, "hidden_size": 128}
    twins = [tiny.transformer(family, 6, WORDS, dtype, **settings).to("cuda") for _ in range(2)]
    inputs = StepInputs(*torch.tensor([[7, 9, 11], [0, 2, 1], [0, 2, 1]], device="cuda"), 8)
    ours = load_model(twins[0])
    cache, stream = ours.cache(3, 8), torch.cuda.Stream()

    def step() -> torch.Tensor:
        return ours.step(cache, inputs).base

    step()
    torch.cuda.set_sync_debug_mode("error")
    try:
        step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    replay, outcome = cuda_graphs.record(step, stream, torch.cuda.graph_pool_handle())
    monkeypatch.setattr(gpu_rows, "on_gpu", lambda tensor: False)
    theirs = load_model(twins[1])
    plain = theirs.cache(3, 8)
    for _ in range(3):
        replay()
        expected = theirs.step(plain, inputs).base
        difference = (outcome - expected).square().mean() / expected.square().mean()
        assert difference < 0.04**2
        inputs.tokens.sub_(1)
        inputs.positions.add_(1)


def test_kernels_in_float32_decode_what_the_cpu_does(kernels: None) -> None:
    decoding = {"sampler": "greedy", "max_new_tokens": 24}
    prompts = [tiny.PROMPT, [3, 3, 2], [2, 0, 3, 3, 5, 4, 6, 7]]
    ours, theirs = (
        sample(
            load_model(tiny.transformer("qwen3", 6, WORDS, torch.float32).to(d)), prompts, decoding
        )
        for d in ("cuda", "cpu")
    )
    assert [row[0].tokens for row in ours] == [row[0].tokens for row in theirs]
