"""A GPU's kernels compute what torch's operations do: here in Triton's interpreter, on the CPU.

Run it with `make test-kernels`; on a GPU, tests/test_gpu.py compares the compiled ones.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

if os.environ.get("TRITON_INTERPRET") != "1":
    pytest.skip("not in Triton's interpreter: make test-kernels", allow_module_level=True)
pytest.importorskip("triton")

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

import row_kernels
import test_attention
import tiny
from powerblend import Model, load_model
from powerblend.blends import LayerBlend
from powerblend.engine import attention, gpu_kernels, gpu_rows
from powerblend.engine.batch import Guesses, StepInputs
from powerblend.engine.compiled_rows import Angles, HeadNorms
from powerblend.engine.residual_norms import FusedLayer, NormOfSums
from small_study import environment

WORDS = 12
FAMILIES = {"llama": {"attention_bias": True}, "qwen2": {}, "qwen3": {}}
BODIES = ("matrix products", "flash", "varlen")
"""What attends to what the kernels wrote; all but the first in the layout by position."""

MODEL_TOLERANCES = {torch.float32: 1e-5, torch.bfloat16: 0.04, torch.float16: 0.004}
"""Of logits, by root mean squares: torch rounds more often."""


@pytest.fixture
def everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels serve on the CPU as well."""
    monkeypatch.setattr(gpu_rows, "on_gpu", lambda tensor: True)


@pytest.mark.parametrize("by_position", [True, False])
@pytest.mark.parametrize("normed", [True, False])
@pytest.mark.parametrize("rows", row_kernels.ROWS)
@pytest.mark.parametrize("heads", row_kernels.HEADS)
@pytest.mark.parametrize("dtype", row_kernels.DTYPES)
def test_heads_are_normed_rotated_and_put_where_they_belong(
    dtype: torch.dtype, heads: str, rows: str, normed: bool, by_position: bool
) -> None:
    row_kernels.check_placed(
        row_kernels.HEADS[heads],
        row_kernels.ROWS[rows],
        dtype,
        "cpu",
        normed=normed,
        by_position=by_position,
    )


@pytest.mark.parametrize("width", [16, 100, 2560])
@pytest.mark.parametrize("dtype", row_kernels.DTYPES)
def test_a_sum_is_rounded_and_then_normed(dtype: torch.dtype, width: int) -> None:
    row_kernels.check_normed_sum(width, dtype, "cpu")


@pytest.mark.filterwarnings("ignore:overflow encountered in exp")
@pytest.mark.parametrize("width", [24, 1100])
@pytest.mark.parametrize("dtype", row_kernels.DTYPES)
def test_gates_of_every_size_are_multiplied(dtype: torch.dtype, width: int) -> None:
    row_kernels.check_gated(width, dtype, "cpu")


def test_a_compiler_for_gpus_takes_them(tmp_path: Path) -> None:
    outside = environment() | {"TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path)}
    program = Path(__file__).parent / "kernel_binaries.py"
    done = subprocess.run([sys.executable, program], env=outside, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_heads_that_the_kernel_cannot_rotate_are_left_to_torch(everywhere: None) -> None:
    by_head, store = torch.randn(2, 4, 64), torch.zeros(2, 1, 5, 64)
    whole, own = Angles(*torch.randn(2, 2, 1, 64)), (store, store)
    norms = HeadNorms(torch.randn(3, 64), 1e-5)
    assert gpu_rows.places(by_head, whole, own, norms)
    assert not gpu_rows.places(by_head, whole, own, HeadNorms(norms.weight.half(), 1e-5))
    assert not gpu_rows.places(by_head.double(), whole, own, None)
    assert not gpu_rows.places(by_head, Angles(*torch.randn(2, 2, 1, 32)), own, None)
    assert not gpu_rows.places(by_head, Angles(*torch.randn(2, 1, 1, 64)), own, None)
    assert not gpu_rows.places(by_head, Angles(whole.cos.half(), whole.sin.half()), own, None)
    assert not gpu_rows.places(by_head.transpose(0, 1), whole, own, None)
    assert not gpu_rows.places(by_head, whole, (store[..., :32], store[..., :32]), None)
    assert not gpu_rows.places(by_head.requires_grad_(), whole, own, None)


def test_a_norm_is_at_hand_for_its_own_sum_alone(everywhere: None) -> None:
    plain = nn.RMSNorm(16, 1e-5)
    nn.init.uniform_(plain.weight, 0.5, 1.5)
    norm, (left, right) = NormOfSums.of(plain), torch.randn(2, 3, 16)
    with torch.inference_mode():
        total = norm.sum(left, right)
        torch.testing.assert_close(norm(total), plain(left + right))
        norm.sum(left, right)
        torch.testing.assert_close(norm(left), plain(left))
        torch.testing.assert_close(norm(total.clone()), plain(total))
        assert norm._ahead is None
    assert norm.sum(left.requires_grad_(), right).grad_fn is not None


def test_layers_keep_their_weights_names_hooks_and_outputs(everywhere: None) -> None:
    plain = transformer("qwen3", torch.float32)
    first, second, _ = plain.base_model.layers
    first.register_forward_hook(lambda _, inputs, output: output + inputs[0])
    second.register_forward_hook(shifted)
    saved = {name: weight.clone() for name, weight in plain.state_dict().items()}
    tokens = torch.tensor([[2, 3, 4, 5]])
    hidden = plain(tokens, output_hidden_states=True).hidden_states
    model = load_model(plain)
    kept = model._hf.state_dict()
    assert all(torch.equal(kept[name], weight) for name, weight in saved.items())
    assert {name for name in kept if ".product." not in name} == saved.keys()
    assert isinstance(model.norm, NormOfSums)
    final, outputs = model.states(model.cache(1, 4), 0, tokens, range(tiny.LAYERS))
    torch.testing.assert_close(final, hidden[-1], rtol=1e-4, atol=1e-4)
    # transformers norms the last layer's.
    torch.testing.assert_close(outputs[:-1], hidden[1:-1], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(model.normalise(outputs[-1]), final, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dtype", MODEL_TOLERANCES)
def test_a_model_s_logits_are_those_of_torch_s_operations(
    dtype: torch.dtype, family: str, body: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through `Model.step`, four tokens of three rows, and a layer's outputs blended in."""
    monkeypatch.setattr(attention, "flash_attn_with_kvcache", None)
    if body == "flash":
        monkeypatch.setattr(attention, "flash_attn_with_kvcache", test_attention.flash)
    if body == "varlen":
        monkeypatch.setattr(attention, "varlen_attn", test_attention.varlen)
    monkeypatch.setattr(attention, "has_kernel", lambda *_: body != "matrix products")
    expected = stepped(load_model(transformer(family, dtype)))
    calls = counted(monkeypatch)
    ours = load_model(transformer(family, dtype))
    assert all(isinstance(layer, FusedLayer) for layer in ours.decoder_layers)
    calls.clear()
    found = stepped(ours)
    layers, steps, passes = tiny.LAYERS, 4, 5  # one pass is the prompts'
    assert calls.count("placed") == layers * steps
    # The outputs that a blend reads are not normed ahead.
    assert calls.count("normed_sum") == 2 * layers * passes - steps
    assert calls.count("gated") == layers * passes
    assert rms(found - expected) < MODEL_TOLERANCES[dtype] * rms(expected)


def test_several_tokens_of_a_row_give_the_logits_of_one_after_the_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one_by_one = stepped(load_model(transformer("qwen3", torch.float32)))[:, 0]
    calls = counted(monkeypatch)
    model = load_model(transformer("qwen3", torch.float32))
    cache, guesses = filled(model), Guesses.of([[6], [8, 7], [10]], model.device)
    tokens, positions = torch.tensor([[7, 6, 9, 8, 7, 11, 10], [1, 2, 3, 4, 5, 2, 3]])
    calls.clear()
    found = model.step(cache, StepInputs(tokens, positions, positions, 6, guesses)).base
    assert calls.count("placed") == tiny.LAYERS
    expected = one_by_one[guesses.offset, guesses.row]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def shifted(_: nn.Module, inputs: object, output: Tensor) -> None:
    output.add_(0.5)


def rms(numbers: Tensor) -> Tensor:
    return numbers.square().mean().sqrt()


def transformer(family: str, dtype: torch.dtype) -> PreTrainedModel:
    return tiny.transformer(family, vocabulary=WORDS, dtype=dtype, **FAMILIES[family])


START = torch.tensor([1, 3, 2])
"""Prompt tokens that three rows have keys of."""


def filled(model: Model) -> attention.RaggedCache:
    cache = model.cache(3, 9)
    tokens = torch.tensor([[2, 3, 4], [4, 5, 6], [6, 2, 3]])
    model.prefill(cache, slice(0, 3), torch.zeros(3, dtype=torch.long), tokens)
    return cache


def stepped(model: Model) -> Tensor:
    """Logits [steps, base and target, rows, vocabulary] of four tokens fed to three rows."""
    cache, blend, found = filled(model), LayerBlend(layer=1, norm="final", beta=0.3), []
    for offset in range(4):
        tokens, positions = torch.tensor([7, 9, 11]) - offset, START + offset
        inputs = StepInputs(tokens, positions, positions, int(positions.max()) + 1)
        found.append(torch.stack(model.step(cache, inputs, blend)).float())
    return torch.stack(found)


def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The kernels that are called from now on, on the CPU as well."""
    calls: list[str] = []

    def noting(name: str, kernel: object) -> object:
        def noted(*arguments: object) -> object:
            calls.append(name)
            return kernel(*arguments)  # type: ignore[operator]

        return noted

    for name in ("placed", "normed_sum", "gated"):
        monkeypatch.setattr(gpu_kernels, name, noting(name, getattr(gpu_kernels, name)))
    monkeypatch.setattr(gpu_rows, "on_gpu", lambda tensor: True)
    return calls
