"""One attention contract, several bodies: all of them give what the model's authors wrote."""

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel

import tiny
from powerblend import Model, load_model, sample
from powerblend.engine import attention
from powerblend.engine.batch import StepInputs
from powerblend.engine.cache import RaggedCache

PREFIX, LENGTHS = 5, (9, 8, 12)


@pytest.fixture(scope="module")
def hf(tmp_path_factory: pytest.TempPathFactory) -> PreTrainedModel:
    folder = tiny.save(tmp_path_factory.mktemp("model"))
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64)


@pytest.fixture(scope="module")
def model(hf: PreTrainedModel) -> Model:
    return load_model(hf)


def flash(
    q: Tensor, k_cache: Tensor, v_cache: Tensor, *, k: Tensor, v: Tensor, **options: Tensor
) -> Tensor:
    """What flash-attn's documentation says of ``flash_attn_with_kvcache``, row by row."""
    assert k_cache.stride(-1) == 1
    assert k_cache.stride(1) == k_cache.shape[2] * k_cache.shape[3]
    group = q.shape[2] // k.shape[2]
    assert group <= k_cache.shape[1]
    rows = []
    for row, length in enumerate(options["cache_seqlens"].tolist()):
        k_cache[row, length], v_cache[row, length] = k[row, 0], v[row, 0]
        keys = k_cache[row, : length + 1].repeat_interleave(group, 1)
        values = v_cache[row, : length + 1].repeat_interleave(group, 1)
        scores = torch.einsum("hd,lhd->hl", q[row, 0], keys) * options["softmax_scale"]
        rows.append(torch.einsum("hl,lhd->hd", scores.softmax(-1), values)[None])
    return torch.stack(rows)


def varlen(
    q: Tensor, k: Tensor, v: Tensor, cu_q: Tensor, cu_k: Tensor, *most: int, **options: Any
) -> Tensor:
    """What torch's documentation says of ``varlen_attn``, row by row, for one query a row."""
    assert most == (1, cu_k[1])
    assert options["enable_gqa"]
    assert cu_q.tolist() == list(range(len(q) + 1))
    rows = []
    for row, used in enumerate(options["seqused_k"].tolist()):
        own = slice(int(cu_k[row]), int(cu_k[row]) + used)
        keys, values = (kv[own].repeat_interleave(q.shape[1] // k.shape[1], 1) for kv in (k, v))
        scores = torch.einsum("hd,lhd->hl", q[row], keys) * options["scale"]
        rows.append(torch.einsum("hl,lhd->hd", scores.softmax(-1), values))
    return torch.stack(rows)


@pytest.fixture(params=["matrix products", "prefix apart", "flash", "varlen"])
def body(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    # Installed, it is for 16 bits on a GPU: nobody else may call it.
    monkeypatch.setattr(attention, "flash_attn_with_kvcache", pytest.fail)
    if request.param == "flash":
        monkeypatch.setattr(attention, "flash_attn_with_kvcache", flash)
    if request.param == "varlen":
        monkeypatch.setattr(attention, "flash_attn_with_kvcache", None)
        monkeypatch.setattr(attention, "varlen_attn", varlen)
    return str(request.param)


def test_every_body_gives_the_model_s_own_logits(
    hf: PreTrainedModel, model: Model, body: str
) -> None:
    torch.manual_seed(1)
    start = torch.randint(2, 90, (PREFIX,))
    strings = [torch.cat([start, torch.randint(2, 90, (n - PREFIX,))]) for n in LENGTHS]
    cache = filled(model, start, body)
    for row, string in enumerate(strings):
        rest = string[None, PREFIX:-2]
        model.prefill(cache, slice(row, row + 1), torch.tensor([PREFIX]), rest)
    # Two steps, so that what the first one writes is read by the second.
    for back in (2, 1):
        tokens = torch.stack([s[-back] for s in strings])
        positions = torch.tensor([len(s) - back for s in strings])
        inputs = StepInputs(tokens, positions, positions, int(positions.max()) + 1)
        ours = model.step(cache, inputs).base
        for row, string in enumerate(strings):
            end = len(string) - back + 1
            theirs = hf(string[None, :end], use_cache=False).logits[0, -1]
            assert (ours[row] - theirs).abs().max() < 1e-10


@pytest.mark.parametrize("body", ["flash", "varlen"], indirect=True)
def test_short_strings_of_wide_groups_are_sampled_by_kernels(
    body: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From loading on, through the production path; eight queries share each key."""
    hf = tiny.transformer(vocabulary=24, num_attention_heads=16)
    prompts = [[5], [6, 7], [8]]
    decoding = {"sampler": "temperature", "temperature": 1.0, "max_new_tokens": 2}
    expected = sample(load_model(hf), prompts, decoding)
    monkeypatch.setattr(attention, "has_kernel", lambda device, dtype: True)
    ours = sample(load_model(hf), prompts, decoding)
    assert [row[0].tokens for row in ours] == [row[0].tokens for row in expected]


def filled(model: Model, start: Tensor, body: str) -> RaggedCache:
    """A cache whose three rows hold the common beginning, in the layout of the body."""
    one = model.cache(1, PREFIX)
    model.prefill(one, slice(0, 1), torch.tensor([0]), start[None])
    saved = one.save(0, 0, PREFIX)
    layers, _, heads, _, width = saved.shape
    by_position = body in ("flash", "varlen")
    prefix = saved if by_position or body == "prefix apart" else None
    shape = (layers, len(LENGTHS), heads, max(LENGTHS) + 1, width)
    cache = RaggedCache(*shape, saved.dtype, saved.device, prefix, by_position)
    if prefix is None:
        for row in range(len(LENGTHS)):
            cache.restore(row, 0, saved)
    return cache
