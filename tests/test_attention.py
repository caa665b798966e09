"""One attention contract, several bodies: all of them give what the model's authors wrote."""

import math
from itertools import chain
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.attention.varlen import AuxRequest
from transformers import PreTrainedModel

import architectures
import tiny
from powerblend import Model, load_model, sample
from powerblend.engine import attention
from powerblend.engine.batch import Guesses, StepInputs
from powerblend.engine.cache import RaggedCache

PREFIX, LENGTHS = 5, (9, 8, 12, 7)
OTHER = 99
"""A token that is in no string."""

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
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    scale: float,
    window: tuple[int, int] = (-1, -1),
    softcap: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """The last queries [new, heads, width] of a row to its keys [length, kv_heads, width].

    Each sees so many keys to the left and right of its own one as ``window`` says, or all if that
    is negative. Returns outputs [new, heads, width] and the logs of sums of exponentials, [new,
    heads].
    """
    new, heads, length = len(queries), queries.shape[1], len(keys)
    assert heads % keys.shape[1] == 0
    keys, values = (kv.repeat_interleave(heads // keys.shape[1], 1) for kv in (keys, values))
    scores = torch.einsum("nhd,lhd->nhl", queries, keys) * scale
    if softcap:
        scores = softcap * (scores / softcap).tanh()
    left, right = (math.inf if side < 0 else side for side in window)
    to_the_right = torch.arange(length) - (torch.arange(new)[:, None] + length - new)
    seen = (to_the_right <= right) & (-to_the_right <= left)
    assert seen.any(-1).all()  # kernels have their own ideas of what a softmax over nothing is
    scores = scores.masked_fill(~seen[:, None], -torch.inf)
    return torch.einsum("nhl,lhd->nhd", scores.softmax(-1), values), scores.logsumexp(-1)


def flash(
    q: Tensor,
    k_cache: Tensor,
    v_cache: Tensor,
    k: Tensor | None = None,
    v: Tensor | None = None,
    *,
    cache_seqlens: Tensor | None = None,
    softmax_scale: float,
    causal: bool = False,
    window_size: tuple[int, int] = (-1, -1),
    softcap: float = 0.0,
    return_softmax_lse: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """What flash-attn's documentation says of ``flash_attn_with_kvcache``, row by row."""
    (rows, new, heads, width), (_, capacity, kv_heads, _) = q.shape, k_cache.shape
    assert k_cache.shape == v_cache.shape == (rows, capacity, kv_heads, width)
    assert k_cache.stride()[2:] == v_cache.stride()[2:] == (width, 1)
    assert k_cache.stride(1) == v_cache.stride(1) >= kv_heads * width
    lengths = [capacity] * rows if cache_seqlens is None else cache_seqlens.tolist()
    if cache_seqlens is not None:
        assert (cache_seqlens.dtype, cache_seqlens.shape) == (torch.int32, (rows,))
        assert cache_seqlens.is_contiguous()
    if k is not None and v is not None:
        assert k.shape == v.shape == (rows, new, kv_heads, width)
        # One query each, of heads that share keys, are taken for as many queries.
        folded = new == 1 and window_size == (-1, -1)
        assert (heads // kv_heads if folded else new) <= capacity
        assert cache_seqlens is not None
        lengths = [length + new for length in lengths]
        assert max(lengths) <= capacity  # it would write into the next row
        for row, length in enumerate(lengths):
            k_cache[row, length - new : length] = k[row]
            v_cache[row, length - new : length] = v[row]
    window = (window_size[0], 0) if causal else window_size
    found = [
        attended(q[i], k_cache[i, :n], v_cache[i, :n], softmax_scale, window, softcap)
        for i, n in enumerate(lengths)
    ]
    outputs, log_sums = (torch.stack(part) for part in zip(*found, strict=True))
    return (outputs, log_sums.transpose(1, 2).contiguous()) if return_softmax_lse else outputs


def varlen(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    cu_seq_q: Tensor,
    cu_seq_k: Tensor,
    max_q: int,
    max_k: int,
    *,
    return_aux: AuxRequest | None = None,
    scale: float,
    window_size: tuple[int, int] = (-1, -1),
    enable_gqa: bool = False,
    seqused_k: Tensor | None = None,
) -> Tensor | tuple[Tensor, Tensor]:
    """What torch's documentation says of ``varlen_attn``, row by row."""
    assert query.ndim == 3
    assert key.shape == value.shape == (len(key), key.shape[1], query.shape[2])
    assert query.stride(-1) == key.stride(-1) == value.stride(-1) == 1
    assert enable_gqa or query.shape[1] == key.shape[1]
    rows = len(cu_seq_q) - 1
    for at, states, longest in ((cu_seq_q, query, max_q), (cu_seq_k, key, max_k)):
        assert (at.dtype, at.shape) == (torch.int32, (rows + 1,))
        assert (at[0], at[-1], at.diff().max()) == (0, len(states), longest)
    used = cu_seq_k.diff()
    if seqused_k is not None:
        assert (seqused_k.dtype, seqused_k.shape) == (torch.int32, (rows,))
        assert (seqused_k <= used).all()
        used = seqused_k
    found = []
    for row, length in enumerate(used.tolist()):
        own = slice(int(cu_seq_k[row]), int(cu_seq_k[row]) + length)
        queries = query[int(cu_seq_q[row]) : int(cu_seq_q[row + 1])]
        found.append(attended(queries, key[own], value[own], scale, window_size))
    outputs, log_sums = (torch.cat(part) for part in zip(*found, strict=True))
    return (outputs, log_sums.t().contiguous()) if return_aux and return_aux.lse else outputs


KERNELS = {"flash": (flash, pytest.fail), "varlen": (None, varlen)}
"""flash-attn's kernel and torch's own, of which only one may be called."""


@pytest.fixture(
    params=[
        "matrix products",
        "matrix products, prefix apart",
        *KERNELS,
        *(f"{kernel}, prefix apart" for kernel in KERNELS),
    ]
)
def body(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    kernel, _, apart = request.param.partition(", ")
    # Installed, they are for 16 bits on a GPU: nobody else may call them.
    flash_attn, torch_s_own = KERNELS.get(kernel, (pytest.fail, pytest.fail))
    monkeypatch.setattr(attention, "flash_attn_with_kvcache", flash_attn)
    monkeypatch.setattr(attention, "varlen_attn", torch_s_own)
    monkeypatch.setattr(attention, "MIN_SPARED_BYTES", 0 if apart else math.inf)
    return str(request.param)


@pytest.fixture
def strings() -> list[Tensor]:
    """Random ones that begin alike."""
    torch.manual_seed(1)
    start = torch.randint(2, 90, (PREFIX,))
    return [torch.cat([start, torch.randint(2, 90, (n - PREFIX,))]) for n in LENGTHS]


def test_every_body_gives_the_model_s_own_logits(
    hf: PreTrainedModel,
    model: Model,
    body: str,
    strings: list[Tensor],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The last row begins with the first token behind the prefix."""
    cache = filled(model, strings, [len(string) - 2 for string in strings], body, monkeypatch)
    # Two steps, so that what the first one writes is read by the second.
    for back in (2, 1):
        tokens = torch.stack([s[-back] for s in strings])
        positions = torch.tensor([len(s) - back for s in strings])
        inputs = StepInputs(tokens, positions, positions, int(positions.max()) + 1)
        ours = model.step(cache, inputs).base
        for row, string in enumerate(strings):
            theirs = own_logits(hf, string)[len(string) - back]
            assert (ours[row] - theirs).abs().max() < tolerance(hf)


LIVE = ((3, 1), (1, 1), (2, 3), (1, 1))
"""Of three tokens that a row is fed in each of two steps, those that are its string's."""


@pytest.mark.parametrize("even", [True, False])
def test_so_it_does_where_a_step_feeds_rows_several_tokens(
    hf: PreTrainedModel,
    model: Model,
    body: str,
    strings: list[Tensor],
    even: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Three each, of which some are not the string's, or as many as are."""
    done = [len(string) - sum(live) for string, live in zip(strings, LIVE, strict=True)]
    cache = filled(model, strings, done, body, monkeypatch)
    if even and body.startswith(("flash", "varlen")) and not falls_back(hf, body):
        monkeypatch.setattr(attention, "attention", pytest.fail)
    for lives in zip(*LIVE, strict=True):
        fed = [
            string[at : at + live].tolist() + [OTHER] * (3 - live if even else 0)
            for string, at, live in zip(strings, done, lives, strict=True)
        ]
        guesses = Guesses.of([tokens[1:] for tokens in fed], model.device)
        assert guesses.even == even
        positions = torch.tensor(done)[guesses.row] + guesses.offset
        tokens = torch.tensor([token for row in fed for token in row])
        inputs = StepInputs(tokens, positions, positions, int(positions.max()) + 1, guesses)
        ours = model.step(cache, inputs).base.split(list(map(len, fed)))
        for row, (string, live) in enumerate(zip(strings, lives, strict=True)):
            theirs = own_logits(hf, string)[done[row] :][:live]
            assert (ours[row][:live] - theirs).abs().max() < tolerance(hf)
            done[row] += live


def test_a_prefix_is_apart_where_reading_it_again_takes_longer_than_launches() -> None:
    prefix = torch.empty(3, 2, 8, 500, 128, dtype=torch.bfloat16)  # 2 MB a layer
    assert attention.reads_apart(prefix, 17, [None] * 3)
    assert not attention.reads_apart(prefix, 16, [None] * 3)
    assert not attention.reads_apart(prefix[:, :, :, :450], 17, [None] * 3)
    assert not attention.reads_apart(prefix, 17, [None, 4096, None])
    assert not attention.reads_apart(None, 17, [None] * 3)


BY_KERNELS = ["flash", "varlen", "flash, prefix apart", "varlen, prefix apart"]
ALIKE = [[3, 9, 5], [3, 9, 6, 7], [3, 9, 5, 8]]
UNLIKE = [[5], [6, 7], [8]]


@pytest.mark.parametrize("body", BY_KERNELS, indirect=True)
@pytest.mark.parametrize("prompts", [ALIKE, UNLIKE])
def test_short_strings_of_wide_groups_are_sampled_by_kernels(
    body: str, prompts: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """From loading on, through the production path; eight queries share each key."""
    hf = tiny.transformer(vocabulary=24, num_attention_heads=16)
    decoding = {"sampler": "temperature", "temperature": 1.0, "max_new_tokens": 2}
    expected = sample(load_model(hf), prompts, decoding)
    monkeypatch.setattr(attention, "has_kernel", lambda device, dtype: True)
    ours = sample(load_model(hf), prompts, decoding)
    assert [row[0].tokens for row in ours] == [row[0].tokens for row in expected]


@pytest.mark.parametrize("body", BY_KERNELS, indirect=True)
@pytest.mark.parametrize("source", ["layer", "draft"])
def test_moves_by_kernels_are_those_without(
    body: str, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows are saved, put back and moved behind a beginning that they share."""
    hf = tiny.transformer(vocabulary=24)
    draft = tiny.draft(hf, block=4)
    blend = {"source": source, "beta": 0.3} | ({"layer": 1} if source == "layer" else {})
    power = {"sampler": "power", "alpha": 1.5, "max_new_tokens": 12, "blocks": 3, "steps": 3}
    run: dict[str, Any] = {"decoding": power | {"blend": blend}, "samples": 4, "rows": 5}
    expected = sample(load_model(hf, draft=draft), ALIKE, speculate="off", **run)
    monkeypatch.setattr(attention, "has_kernel", lambda device, dtype: True)
    ours = sample(load_model(hf, draft=draft), ALIKE, **run)
    for one, other in zip(chain(*ours), chain(*expected), strict=True):
        assert one.tokens == other.tokens
        assert one.log_t == pytest.approx(other.log_t, abs=1e-6)


def own_logits(hf: PreTrainedModel, string: Tensor) -> Tensor:
    """What the authors' own code says of every token of a string, [tokens, vocabulary]."""
    with torch.no_grad():
        logits: Tensor = hf(string[None], use_cache=False).logits[0]
    return logits


def tolerance(hf: PreTrainedModel) -> float:
    return TOLERANCE[hf.config._attn_implementation] if hf.dtype.itemsize == 8 else 1e-4


def falls_back(hf: PreTrainedModel, body: str) -> bool:
    """Whether its scores are capped, of which torch's own kernel knows nothing."""
    return body.startswith("varlen") and "attn_logit_softcapping" in hf.config.to_dict()


def filled(
    model: Model,
    strings: list[Tensor],
    lengths: list[int],
    body: str,
    monkeypatch: pytest.MonkeyPatch,
) -> RaggedCache:
    """A cache that holds the first tokens of strings, with layout and prefix as the body has."""
    kernel, _, apart = body.partition(", ")
    monkeypatch.setattr(model, "own_lengths", kernel in KERNELS)
    one = model.cache(1, PREFIX)
    model.prefill(one, slice(0, 1), torch.tensor([0]), strings[0][None, :PREFIX])
    saved = one.save(0, 0, PREFIX)
    begins_alike = apart or model.own_lengths
    cache = model.cache(len(strings), max(LENGTHS) + 2, saved if begins_alike else None)
    windows = any(layer.window for layer in model.layer_attention)
    assert (cache.start > 0) == (bool(apart) and not (model.own_lengths and windows))
    for row, (string, length) in enumerate(zip(strings, lengths, strict=True)):
        if not begins_alike:
            cache.restore(row, 0, saved)
        if length > PREFIX:
            rest = string[None, PREFIX:length]
            model.prefill(cache, slice(row, row + 1), torch.tensor([PREFIX]), rest)
    return cache
