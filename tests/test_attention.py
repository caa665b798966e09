"""One attention contract, several bodies: all of them give what the model's authors wrote."""

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

import architectures
import tiny
from powerblend import Model, load_model, sample
from powerblend.engine import attention
from powerblend.engine.batch import StepInputs
from powerblend.engine.cache import RaggedCache

PREFIX, LENGTHS = 5, (9, 8, 12)
TOLERANCE = {"sdpa": 1e-10, "eager": 1e-5}
"""By what the model's authors attend with: eager attention takes its softmax in float32."""


@pytest.fixture(scope="module", params=architectures.ATTENTIONS)
def hf(request: pytest.FixtureRequest) -> PreTrainedModel:
    family, settings, dtype = architectures.ATTENTIONS[request.param]
    made = tiny.transformer(family, 6, 100, dtype, **settings)
    made.set_attn_implementation("sdpa" if request.param in ("plain", "windows") else "eager")
    return made


@pytest.fixture(scope="module")
def model(hf: PreTrainedModel) -> Model:
    return load_model(hf)


def attended(
    query: Tensor, keys: Tensor, values: Tensor, scale: float, window: int, softcap: float = 0.0
) -> tuple[Tensor, Tensor]:
    """One query [heads, width] and the keys [length, kv_heads, width] before it, its own included.

    The last ``window`` + 1 of them, or all if that is negative; with the log of the sum of
    exponentials, [heads].
    """
    first = 0 if window < 0 else max(0, len(keys) - window - 1)
    group = query.shape[0] // keys.shape[1]
    keys, values = (kv[first:].repeat_interleave(group, 1) for kv in (keys, values))
    scores = torch.einsum("hd,lhd->hl", query, keys) * scale
    if softcap:
        scores = softcap * (scores / softcap).tanh()
    return torch.einsum("hl,lhd->hd", scores.softmax(-1), values), scores.logsumexp(-1)


def flash(
    q: Tensor, k_cache: Tensor, v_cache: Tensor, k: Tensor | None, v: Tensor | None, **options: Any
) -> Tensor | tuple[Tensor, Tensor]:
    """What flash-attn's documentation says of ``flash_attn_with_kvcache``, row by row."""
    assert k_cache.stride(-1) == 1
    assert k_cache.stride(1) == k_cache.shape[2] * k_cache.shape[3]
    assert q.shape[2] // k_cache.shape[2] <= k_cache.shape[1]
    left, _ = options.get("window_size", (-1, -1))
    outputs, log_sums = [], []
    for row, length in enumerate(options["cache_seqlens"].tolist()):
        if k is not None and v is not None:
            k_cache[row, length], v_cache[row, length] = k[row, 0], v[row, 0]
            length += 1
        own = k_cache[row, :length], v_cache[row, :length]
        scale, softcap = options["softmax_scale"], options.get("softcap", 0.0)
        output, log_sum = attended(q[row, 0], *own, scale, left, softcap)
        outputs.append(output[None])
        log_sums.append(log_sum[:, None])
    if options.get("return_softmax_lse"):
        return torch.stack(outputs), torch.stack(log_sums)
    return torch.stack(outputs)


def varlen(
    q: Tensor, k: Tensor, v: Tensor, cu_q: Tensor, cu_k: Tensor, *most: int, **options: Any
) -> Tensor | tuple[Tensor, Tensor]:
    """What torch's documentation says of ``varlen_attn``, row by row, for one query a row."""
    assert most == (1, cu_k[1])
    assert options["enable_gqa"]
    assert cu_q.tolist() == list(range(len(q) + 1))
    left, _ = options["window_size"]
    found = []
    for row, used in enumerate(options["seqused_k"].tolist()):
        own = slice(int(cu_k[row]), int(cu_k[row]) + used)
        found.append(attended(q[row], k[own], v[own], options["scale"], left))
    outputs, log_sums = (torch.stack(part) for part in zip(*found, strict=True))
    return (outputs, log_sums.t()) if options.get("return_aux") else outputs


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
    tolerance = TOLERANCE[hf.config._attn_implementation] if hf.dtype.itemsize == 8 else 1e-4
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
            assert (ours[row] - theirs).abs().max() < tolerance


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
