"""Layers run as one call leave what they leave one by one, to the last bit."""

import copy
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

import tiny
from equality import records
from powerblend import Model, load_model, sample
from powerblend.engine import compiled_calls, compiler
from powerblend.engine.batch import Guesses, StepInputs
from powerblend.engine.cache import RaggedCache
from powerblend.engine.compiled_calls import Memory, NotRecorded, Recording, recorded
from powerblend.engine.compiled_rows import added, gated
from powerblend.engine.recorded_layers import MOST_TOKENS, RecordedLayers
from powerblend.engine.tiled_linear import Panelled

pytest.importorskip("llvmlite")

WORDS, SLOTS, CAPACITY, PREFIX = 64, 5, 40, 3
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {"attention_bias": True, "mlp_bias": True},
    "qwen2": {"use_sliding_window": True, "sliding_window": 6, "max_window_layers": 1},
    "qwen3": {},
}


@pytest.fixture(autouse=True)
def inference() -> Iterator[None]:
    with torch.inference_mode():
        yield


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """With several threads all is torch's."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    if not compiler.serves(torch.zeros(1)):
        pytest.skip("this processor does not multiply and add in one operation")


def transformer(family: str) -> PreTrainedModel:
    """Whose products and heads fill vectors of any processor; biases are not zero."""
    sizes = {"hidden_size": 64, "intermediate_size": 96, "head_dim": 32}
    hf = tiny.transformer(family, 6, WORDS, torch.float32, **sizes | FAMILIES[family])
    torch.manual_seed(0)
    for name, weight in hf.named_parameters():
        if name.endswith("bias"):
            nn.init.uniform_(weight, -1.0, 1.0)
    return hf


@pytest.fixture(scope="module", params=FAMILIES)
def model(request: pytest.FixtureRequest) -> Model:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "get_num_threads", lambda: 1)
        return load_model(transformer(request.param))


def filled(model: Model, prefix: bool) -> RaggedCache:
    """Rows of some random tokens, behind a common beginning or without."""
    torch.manual_seed(1)
    start = torch.randint(2, WORDS, (1, PREFIX))
    one = model.cache(1, PREFIX)
    model.prefill(one, slice(0, 1), torch.tensor([0]), start)
    cache = model.cache(SLOTS, CAPACITY, one.save(0, 0, PREFIX) if prefix else None)
    tokens = torch.randint(2, WORDS, (SLOTS, 9))
    tokens[:, :PREFIX] = start
    first = PREFIX if prefix else 0
    model.prefill(cache, slice(0, SLOTS), torch.full((SLOTS,), first), tokens[:, first:])
    return cache


STEPS: list[list[tuple[int, int]]] = [
    [(0, 9)],
    [(0, 10), (1, 9), (2, 5)],
    [(0, 11), (1, 10), (2, 6), (3, 9), (4, 9)],
    [(0, 12), (0, 13), (0, 14), (1, 11), (2, 7), (2, 8)],
    [(0, 15), (1, 12)],
]
"""Of each token of a step its row and position; some rows are fed several."""


def fed(step: list[tuple[int, int]]) -> StepInputs:
    row, position = (torch.tensor(part) for part in zip(*step, strict=True))
    tokens = 2 + (7 * position + row) % (WORDS - 2)
    length = int(position.max()) + 1
    if len(row) == len(row.unique()):
        return StepInputs(tokens, position, position, length)
    first = torch.searchsorted(row, row.unique())
    offset = torch.arange(len(row)) - first[row]
    guesses = Guesses(row, offset, torch.zeros_like(row), first, int(offset.max()) + 1)
    return StepInputs(tokens, position, position, length, guesses)


@pytest.mark.parametrize("prefix", [False, True])
@pytest.mark.parametrize("layers", [(), (2, 0), (-1,)])
def test_a_pass_is_what_it_is_layer_by_layer(
    model: Model, layers: tuple[int, ...], prefix: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = filled(model, prefix), filled(model, prefix)
    for step in map(fed, STEPS):
        found = model.feed(ours, step, layers)
        kept = found[0].clone()
        with monkeypatch.context() as patch:
            patch.setattr(RecordedLayers, "forward", lambda *_: None)
            expected = model.feed(theirs, step, layers)
        assert torch.equal(found[0], expected[0])
        assert len(found[1]) == len(layers)
        for mine, others in zip(found[1], expected[1], strict=True):
            assert torch.equal(mine, others)
        # What is behind the rows that were fed, or in others, is as it was.
        assert torch.equal(ours._store, theirs._store)
        model.feed(ours, fed(STEPS[0]))  # it writes where this one's states were
        model.feed(theirs, fed(STEPS[0]))
        assert torch.equal(found[0], kept)
    assert len(model._recorded._passes[ours]) == 1 + bool(layers)


def test_answers_are_those_of_single_layers(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    decoding = {
        **{"sampler": "power", "alpha": 2.0, "max_new_tokens": 8, "blocks": 2, "steps": 2},
        "blend": {"source": "layer", "layer": 1, "beta": 0.2},
    }
    prompts = [[2, 0, 3], [2, 3], [2, 0, 5]]
    run, runs = Recording.run, set()
    monkeypatch.setattr(Recording, "run", lambda it, rows: runs.add(rows) or run(it, rows))
    ours = records(sample(model, prompts, decoding, samples=3, rows=4))
    assert runs >= {1, 2, 3, 4}
    monkeypatch.setattr(RecordedLayers, "forward", lambda *_: None)
    assert ours == records(sample(model, prompts, decoding, samples=3, rows=4))


def test_recordings_go_with_their_cache(model: Model) -> None:
    cache = filled(model, prefix=False)
    model.feed(cache, fed(STEPS[1]))
    assert cache in model._recorded._passes
    before = len(model._recorded._passes)
    del cache
    assert len(model._recorded._passes) < before


def test_hooks_see_every_layer_of_every_step(model: Model) -> None:
    cache, seen = filled(model, prefix=False), []
    expected = model.feed(cache, fed(STEPS[1]))[0]
    layers, norm = model.decoder_layers, model.norm
    hooks = [
        layers[1].register_forward_hook(lambda *given: seen.append(given[2])),
        norm.register_forward_pre_hook(lambda *_: seen.append("norm")),
        model._base.register_forward_hook(lambda *_: seen.append("backbone")),
    ]
    for _ in range(2):
        assert torch.equal(model.feed(cache, fed(STEPS[1]))[0], expected)
    assert seen[1:3] == ["norm", "backbone"]
    assert len(seen) == 6
    assert len(seen[0]) == 3
    for hook in hooks:
        hook.remove()
    model.feed(cache, fed(STEPS[1]))
    assert len(seen) == 6


def test_a_recording_outlives_what_is_replaced() -> None:
    model = load_model(transformer("llama"))
    cache = filled(model, prefix=False)
    expected = model.feed(cache, fed(STEPS[1]))[0]
    weights = weakref.ref(model.decoder_layers[1].mlp.down_proj._panels.weights)
    model.decoder_layers[1].mlp = nn.Identity()
    assert weights() is not None
    assert torch.equal(model.feed(cache, fed(STEPS[1]))[0], expected)
    assert not torch.allclose(model.feed(filled(model, False), fed(STEPS[1]))[0], expected)
    del cache
    assert weights() is None


def test_threads_take_turns(model: Model) -> None:
    caches = [filled(model, prefix=False) for _ in range(2)]
    expected = model.feed(caches[0], fed(STEPS[2]))[0]

    @torch.inference_mode()
    def wrong(cache: RaggedCache) -> int:
        found = (model.feed(cache, fed(STEPS[2]))[0] for _ in range(200))
        return sum(not torch.equal(one, expected) for one in found)

    with ThreadPoolExecutor(2) as threads:
        assert list(threads.map(wrong, caches)) == [0, 0]


def test_passes_of_nothing_or_of_very_much_are_not_recorded(model: Model) -> None:
    cache = filled(model, prefix=False)
    nothing = torch.zeros(0, dtype=torch.long)
    assert model.feed(cache, StepInputs(nothing, nothing, nothing, 9))[0].shape == (0, 1, 64)
    model.states(cache, 0, torch.zeros(1, 0, dtype=torch.long), [1])
    many = torch.arange(MOST_TOKENS + 1)
    each = Guesses(many % SLOTS, many, many, many[:SLOTS], MOST_TOKENS)
    model.feed(cache, StepInputs(many % WORDS, 9 + many // SLOTS % 9, many, 20, each))
    assert cache not in model._recorded._passes
    model.feed(cache, fed(STEPS[1]))
    assert cache in model._recorded._passes


def test_a_cache_serves_in_and_out_of_inference(model: Model) -> None:
    cache = filled(model, prefix=False)
    expected = model.feed(cache, fed(STEPS[1]))[0]
    with torch.inference_mode(False), torch.no_grad():
        outside = StepInputs(*(column.clone() for column in fed(STEPS[1])[:3]), 11)
        own = model.cache(SLOTS, CAPACITY)
        model.feed(own, outside)
    with torch.no_grad():
        assert torch.equal(model.feed(cache, fed(STEPS[1]))[0], expected)


def test_a_model_is_copied_without_its_recordings(model: Model) -> None:
    cache = filled(model, prefix=False)
    expected = model.feed(cache, fed(STEPS[1]))[0]
    twin = copy.deepcopy(model)
    assert torch.equal(twin.feed(filled(twin, False), fed(STEPS[1]))[0], expected)


class Twice(Panelled):
    """A product that does something of its own behind the loop."""

    def forward(self, inputs: Tensor) -> Tensor:
        return 2 * super().forward(inputs)


def test_layers_that_compute_otherwise_are_run_one_by_one() -> None:
    model = load_model(transformer("llama"))
    expected = model.feed(filled(model, False), fed(STEPS[1]))[0]
    model.decoder_layers[1].mlp.down_proj.__class__ = Twice
    found = [model.feed(filled(model, False), fed(STEPS[1]))[0] for _ in range(2)]
    assert not torch.allclose(found[0], expected)
    assert torch.equal(*found)


@pytest.mark.parametrize(
    "operation",
    [
        lambda numbers: numbers + 1,
        lambda numbers: numbers.mul_(2),
        lambda numbers: numbers.t().contiguous(),
        lambda numbers: numbers.new_empty(3),
        lambda numbers: numbers.sum().item(),
    ],
)
def test_what_would_not_be_repeated_is_refused(operation: Any) -> None:
    numbers = torch.ones(2, 32)
    with pytest.raises(NotRecorded), recorded(2, Memory()):
        operation(numbers)
    assert added(numbers, numbers)[0, 0] in (2, 4)  # nothing is recorded any more


def test_a_loop_over_other_rows_is_refused() -> None:
    numbers = torch.ones(3, 32)
    with pytest.raises(NotRecorded, match="3 rows"), recorded(2, Memory()):
        added(numbers, numbers)


def test_recorded_loops_run_over_any_number_of_first_rows() -> None:
    inputs, ones = torch.zeros(4, 128), torch.ones(64)
    with recorded(4, Memory()) as recorder:
        output = added(gated(inputs), ones)
    recording = Recording(recorder, compiler.caller())
    inputs.copy_(torch.randn(4, 128))
    expected = added(gated(inputs), ones)
    for rows in (2, 4, 1):
        output.zero_()
        recording.run(rows)
        assert torch.equal(output[:rows], expected[:rows])
        assert not output[rows:].any()


def test_memory_is_used_again_when_nobody_sees_it() -> None:
    memory = Memory()
    first = memory.tensor([4, 8], torch.float32)
    view, place = first[2:].flatten(), first.data_ptr()
    del first
    other = memory.tensor([32], torch.float32)
    assert other.data_ptr() != place  # a part of it is still seen
    del view
    assert memory.tensor([2, 16], torch.float32).data_ptr() == place
    assert place % compiled_calls.CACHE_LINE_BYTES == 0
