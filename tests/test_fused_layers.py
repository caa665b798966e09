"""Blocks of few operations compute what their authors' do, with the same weights."""

import copy
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedModel

import tiny
from powerblend import load_model, sample
from powerblend.engine import gpu_rows
from powerblend.engine.fused_layers import FusedAttention, FusedMLP, fused, merged

FAMILIES = {
    "llama": {"attention_bias": True, "mlp_bias": True},
    "qwen2": {},  # biases of queries, keys and values
    "qwen3": {},  # norms of queries and keys
}
TOLERANCES = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 0.1}
GREEDY = {"sampler": "greedy", "max_new_tokens": 3}
TOKENS = torch.tensor([[2, 0, 3, 3, 1, 0, 2], [3, 3, 2, 0, 0, 1, 3]])


def transformer(family: str, dtype: torch.dtype = torch.float64) -> PreTrainedModel:
    """A tiny transformer whose biases are not all zero."""
    hf = tiny.transformer(family, dtype=dtype, **FAMILIES[family])
    torch.manual_seed(0)
    for name, weight in hf.named_parameters():
        if name.endswith("bias"):
            nn.init.uniform_(weight, -1.0, 1.0)
    return hf


@torch.no_grad()
def logits(hf: PreTrainedModel) -> Tensor:
    out: Tensor = hf(TOKENS, use_cache=False).logits
    return out


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_fused_model_has_the_same_logits(family: str, dtype: torch.dtype) -> None:
    hf = transformer(family, dtype)
    expected = logits(hf)
    ours = logits(fused(hf))
    assert (ours - expected).abs().max() < TOLERANCES[dtype] * expected.square().mean().sqrt()


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_part_of_a_known_layer_is_replaced(family: str, dtype: torch.dtype) -> None:
    hf = fused(transformer(family, dtype))
    for layer in hf.base_model.layers:
        assert isinstance(layer.self_attn, FusedAttention)
        assert isinstance(layer.mlp, FusedMLP)
        # Norms in float64 are computed in float32 by their authors: that is another function.
        assert isinstance(layer.input_layernorm, nn.RMSNorm) == (dtype != torch.float64)
        merged_norms = family == "qwen3" and dtype != torch.float64
        assert (layer.self_attn._norms is not None) == merged_norms


@pytest.mark.parametrize("family", ["mistral", "gemma2", "gpt2"])
def test_what_is_not_known_stays(family: str) -> None:
    hf = tiny.transformer(family)
    before = [type(module) for module in hf.modules()]
    assert [type(module) for module in fused(hf).modules()] == before


def test_maps_that_are_not_torch_s_own_stay() -> None:
    class Quantised(nn.Linear):
        pass

    hf = transformer("llama")
    first, second, _ = hf.base_model.layers
    first.self_attn.v_proj.__class__ = second.mlp.up_proj.__class__ = Quantised
    fused(hf)
    assert not isinstance(first.self_attn, FusedAttention)
    assert isinstance(first.mlp, FusedMLP)
    assert isinstance(second.self_attn, FusedAttention)
    assert not isinstance(second.mlp, FusedMLP)


@pytest.mark.parametrize("family", FAMILIES)
def test_weights_keep_their_names_and_are_not_held_twice(family: str) -> None:
    hf = transformer(family)
    saved = {name: weight.clone() for name, weight in hf.state_dict().items()}
    ours = fused(copy.deepcopy(hf, {id(p): p for p in hf.parameters()}))
    after = ours.state_dict()
    for name, weight in saved.items():
        assert torch.equal(after[name], weight)
        assert torch.equal(hf.state_dict()[name], weight)
    theirs, own = hf.base_model.layers[0].self_attn, ours.base_model.layers[0].self_attn
    for part in (theirs.q_proj, theirs.k_proj, theirs.v_proj):
        storage = part.weight.untyped_storage()
        assert storage.data_ptr() == own.product.weight.untyped_storage().data_ptr()
    assert torch.equal(logits(hf), logits(transformer(family)))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_that_was_loaded_from_memory_can_still_be_saved(
    family: str, tmp_path: Path
) -> None:
    hf = transformer(family)
    load_model(hf)
    hf.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float64)
    assert torch.equal(logits(again), logits(transformer(family)))


def test_merged_maps_are_the_maps_side_by_side() -> None:
    maps = [nn.Linear(5, outputs, dtype=torch.float64) for outputs in (3, 1, 7)]
    inputs = torch.randn(4, 5, dtype=torch.float64)
    expected = torch.cat([linear(inputs) for linear in maps], 1)
    torch.testing.assert_close(merged(maps)(inputs), expected, rtol=1e-12, atol=1e-12)


def test_the_cpu_asks_for_no_kernels_of_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_rows, "_kernels", pytest.fail)
    for dtype in (torch.float32, torch.bfloat16):
        sample(load_model(transformer("qwen3", dtype)), [[2, 0]], GREEDY)


def test_without_triton_torch_s_operations_serve(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    expected = sample(load_model(transformer("qwen3", torch.float32)), [[2, 0]], GREEDY)
    monkeypatch.setattr(gpu_rows, "on_gpu", lambda tensor: True)
    monkeypatch.setitem(sys.modules, "powerblend.engine.gpu_kernels", None)
    gpu_rows._kernels.cache_clear()
    with caplog.at_level("WARNING"):
        ours = sample(load_model(transformer("qwen3", torch.float32)), [[2, 0]], GREEDY)
    gpu_rows._kernels.cache_clear()
    assert ours[0][0].tokens == expected[0][0].tokens
    (said,) = caplog.messages
    assert said.startswith("no Triton on cpu, so torch's own operations: import of powerblend")
