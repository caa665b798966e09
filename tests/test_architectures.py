"""Architectures are decoded as their authors run them, or refused in one sentence."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers.models.llama.modeling_llama import LlamaAttention

import architectures
import enumeration
import tiny
from architectures import CASES, MIXED, PROMPTS, SLIDING, VOCABULARY, WINDOW, Case
from powerblend import load_model, sample
from powerblend.api.loading import check_config
from powerblend.engine.model import check_architecture

PAGE = Path(__file__).parents[1] / "docs" / "models.md"
TRIED_ALWAYS = [
    "DeepSeek-V2", "Falcon 7B", "Gemma 2", "Jamba", "Llama 4", "OPT", "Phi-3.5-mini, Phi-4-mini",
    "Qwen2-MoE with windows", "gpt-oss",
]  # fmt: skip
SENTENCES = dict(
    (cells[1].strip(), cells[3].strip())
    for line in PAGE.read_text(encoding="utf-8").splitlines()
    if len(cells := line.split("|")) == 5 and "`" in line
)


def tried(name: str) -> None:
    said = architectures.verdict(CASES[name])
    assert said == SENTENCES[name]
    assert said == "exact" or said.startswith("refused: ")
    assert "\n" not in said


@pytest.mark.parametrize("name", TRIED_ALWAYS)
def test_an_architecture_is_what_the_documentation_says(name: str) -> None:
    tried(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in CASES if name not in TRIED_ALWAYS])
def test_every_architecture_is_what_the_documentation_says(name: str) -> None:
    tried(name)


def test_the_documentation_has_every_architecture() -> None:
    assert list(SENTENCES) == list(CASES)
    exact = [name for name, said in SENTENCES.items() if said == "exact"]
    assert len(exact) > 45


def test_a_window_that_only_the_mask_knows_is_seen() -> None:
    """Its attention has no argument for it, so an engine without masks would see everything."""
    hf = tiny.transformer(
        "qwen2_moe", 6, VOCABULARY, torch.float32, **CASES["Qwen2-MoE with windows"].settings
    )
    model = load_model(hf)
    assert {layer.window for layer in model.layer_attention} == {WINDOW, None}
    hf.config.sliding_window = 3
    assert {layer.window for layer in load_model(hf).layer_attention} == {3, None}
    assert hf.config.sliding_window == 3


def test_windows_hold_with_a_prefix_that_prompts_share() -> None:
    hf = tiny.transformer("gemma3_text", 6, VOCABULARY, **MIXED | {"query_pre_attn_scalar": 4})
    hf.set_attn_implementation("eager")
    shared = [3, 8, 2, 9, 14, 6, 7, 2, 11]
    prompts = [shared + prompt for prompt in PROMPTS]
    answers = [
        row[0].tokens for row in sample(load_model(hf), prompts, architectures.GREEDY, rows=3)
    ]
    assert answers == [architectures.own_greedy(hf, prompt) for prompt in prompts]


class Scaled(nn.Linear):
    """A linear map that computes a little more than torch's."""

    def forward(self, inputs: Tensor) -> Tensor:
        return 1.0005 * super().forward(inputs)


@pytest.mark.parametrize("family", ["qwen3", "olmo2"])
def test_a_subclass_of_linear_keeps_its_own_product(family: str) -> None:
    hf = norms_in_their_own_precision(tiny.transformer(family, 6, VOCABULARY))
    for module in list(hf.modules()):
        for child in module.children():
            if type(child) is nn.Linear:
                child.__class__ = Scaled
    hf.set_attn_implementation("sdpa")  # eager's softmax is in float32
    (answer,) = sample(load_model(hf), [PROMPTS[1]], architectures.GREEDY)[0]
    base, _ = architectures.slow_logits(hf, PROMPTS[1] + answer.tokens, 0, "none")
    chosen = torch.tensor(answer.tokens)[:, None]
    log_p = base.log_softmax(-1)[len(PROMPTS[1]) - 1 : -1].gather(1, chosen).sum()
    assert answer.log_p == pytest.approx(float(log_p), abs=1e-9)


def norms_in_their_own_precision(hf: Any) -> Any:
    """Norms that their authors compute in float32 round by the processor: let these not."""
    for module in hf.modules():
        if (eps := getattr(module, "variance_epsilon", None)) is not None:
            module.forward = partial(
                nn.functional.rms_norm,
                normalized_shape=module.weight.shape,
                weight=module.weight,
                eps=eps,
            )
    return hf


@pytest.mark.parametrize("kind", ["dynamic", "longrope"])
def test_angles_that_change_with_length_are_refused_where_they_would(kind: str) -> None:
    name = "Llama with dynamic rotation" if kind == "dynamic" else "Phi-3.5-mini, Phi-4-mini"
    case = CASES[name]
    model = load_model(tiny.transformer(case.family, 6, VOCABULARY, **case.settings))
    assert model.positions == 64
    with pytest.raises(ValueError, match="positions for 64"):
        sample(model, [[5] * 60], architectures.GREEDY)


@pytest.mark.parametrize(
    "case", ["window", *(pytest.param(c, marks=pytest.mark.slow) for c in ("caps", "sinks"))]
)
def test_answers_follow_their_exact_distribution(case: str) -> None:
    """As in test_exactness.py, with less than everything before a token in sight."""
    small = SLIDING | {"sliding_window": 3}
    settings: dict[str, Case] = {
        "window": Case("mistral", small),
        "caps": Case("gemma2", MIXED | small | architectures.CAPPED),
        "sinks": Case("gpt_oss", MIXED | small | architectures.LOCAL_EXPERTS, torch.float32),
    }
    family, changes, dtype = settings[case]
    hf = tiny.transformer(family, 3, tiny.VOCABULARY, dtype, **changes)
    hf.set_attn_implementation("eager")
    decoding: dict[str, Any] = {"sampler": "power", "alpha": 1.5, "max_new_tokens": 4}
    decoding |= {"blocks": 2, "steps": 2}
    strings = enumeration.enumerate_space(
        enumeration.own_logits(hf, tiny.PROMPT), tiny.VOCABULARY, tiny.EOS, 1.5, "base", 4
    )
    expected = enumeration.distribution_of(strings, 4, 2, 2, "exact")
    (answers,) = sample(load_model(hf), [tiny.PROMPT], decoding, 2000, seed=1, rows=512)
    found = [sum(tuple(a.tokens) == s for a in answers) for s in strings.strings]
    assert enumeration.chi_squared(found, expected) > 1e-3


def test_attention_that_chooses_its_tokens_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """As DeepSeek-V3.2 hands the chosen ones to attention."""
    hf = tiny.transformer("llama", 6, VOCABULARY)
    plain = LlamaAttention.forward

    def sparse(self: nn.Module, *arguments: Any, **options: Any) -> Any:
        return plain(self, *arguments, **options, indices=torch.zeros(1))

    monkeypatch.setattr(LlamaAttention, "forward", sparse)
    with pytest.raises(ValueError, match="LlamaAttention attends to tokens that it chooses"):
        load_model(hf)


RECURRENT = ["Falcon Mamba", "Falcon-H1", "LFM2", "Mamba", "Qwen3-Next", "RWKV", "RecurrentGemma"]


def said_without_weights(name: str) -> str:
    case = CASES[name]
    with torch.device("meta"):
        hf = tiny.transformer(case.family, 6, VOCABULARY, torch.float32, **case.settings)
    try:
        check_architecture(hf)
    except ValueError as error:
        return f"refused: {error}"
    return "exact"


@pytest.mark.parametrize("name", [*TRIED_ALWAYS, *RECURRENT])
def test_what_is_refused_is_refused_without_weights(name: str) -> None:
    """So that a study's check says it before anything is generated."""
    assert said_without_weights(name) == SENTENCES[name]


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in CASES if n not in (*TRIED_ALWAYS, *RECURRENT)])
def test_nothing_else_is_refused_without_weights(name: str) -> None:
    assert said_without_weights(name).split(":")[0] == SENTENCES[name].split(":")[0]


def test_sparse_attention_and_long_angles_are_seen_without_weights() -> None:
    case = CASES["Phi-3.5-mini, Phi-4-mini"]
    assert check_config(tiny.transformer(case.family, 6, VOCABULARY, **case.settings).config) == 64
    hf = tiny.transformer("llama", 6, VOCABULARY)
    attention = hf.model.layers[1].self_attn
    attention.indexer = type("LlamaIndexer", (nn.Module,), {})()
    with pytest.raises(ValueError, match="LlamaAttention attends to tokens that it chooses"):
        check_architecture(hf)


def test_weights_that_cannot_be_read_are_named() -> None:
    config = tiny.transformer("llama", 6, VOCABULARY).config
    config.quantization_config = {"quant_method": "hqq", "bits": 4}
    with pytest.raises(ValueError, match="its weights are quantised, and cannot be read here: "):
        check_config(config)
