"""Which architectures are decoded exactly, tried on tiny random models.

As a command it writes the table of docs/models.md anew:

    .venv/bin/python tests/architectures.py docs/models.md

Exact means that answers of greedy decoding, ragged and longer than every window, are those of whole
passes of the untouched model with eager attention; and that log p and log t of power sampling with
a blend of each layer are those of such a pass over the answer.
"""

import contextlib
import itertools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
import transformers
from torch import Tensor, nn
from transformers import PreTrainedModel

import tiny
from powerblend import Model, load_model, sample
from powerblend.engine.model import DECODER_LAYER_NAMES, FINAL_NORM_NAMES

VOCABULARY, WINDOW, NEW_TOKENS = 24, 5, 14
PROMPTS = [[5], [5, 7, 9, 2], [6, 3, 3, 8, 10, 12, 2, 9, 4, 11, 5, 3, 2], [14, 15, 16, 17, 18, 19]]
GREEDY = {"sampler": "greedy", "max_new_tokens": NEW_TOKENS}
POWER = {"sampler": "power", "alpha": 2.0, "max_new_tokens": NEW_TOKENS, "blocks": 2, "steps": 2}
BETA = 0.3
TOLERANCE = {torch.float64: 1e-4, torch.float32: 2e-2}
"""Of a log-probability of an answer, in nats."""

SLIDING = {"sliding_window": WINDOW}
MIXED = SLIDING | {"layer_types": ["sliding_attention", "full_attention", "sliding_attention"]}
FULL = {"layer_types": ["full_attention"] * 3}
FIRST_FULL = SLIDING | {"use_sliding_window": True, "max_window_layers": 1}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
LOCAL_EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 2}
ONE_EXPERT = {"num_local_experts": 1, "num_experts_per_tok": 1}
LATENT = {
    "head_dim": ..., "num_key_value_heads": 4, "kv_lora_rank": 8, "q_lora_rank": 8,
    "qk_rope_head_dim": 4, "qk_nope_head_dim": 6, "v_head_dim": 5,
}  # fmt: skip
ROUTED = {
    "n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16,
    "first_k_dense_replace": 1, "n_group": 1, "topk_group": 1,
}  # fmt: skip
DENSE = ROUTED | {"first_k_dense_replace": 3}
WHOLE_VECTORS = {"qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 8}
FEWER_HEADS = {
    "attention_k_eq_v": True, "num_global_key_value_heads": 1,
    "head_dim": 16, "global_head_dim": 16,
}  # fmt: skip
OWN_HEADS = {"head_dim": ..., "num_key_value_heads": ...}
LONG = {
    "max_position_embeddings": 512,
    "original_max_position_embeddings": 64,
    "rope_parameters": {
        "rope_type": "longrope", "rope_theta": 1e4, "short_factor": [1.0, 1.3],
        "long_factor": [2.0, 3.0], "original_max_position_embeddings": 64,
    },
}  # fmt: skip


SHORT = {
    "max_position_embeddings": 64,
    "rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0},
}
CAPPED = {
    "attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0, "query_pre_attn_scalar": 4,
}  # fmt: skip
SHARED_EXPERT = {"shared_expert_intermediate_size": 16}


class Case(NamedTuple):
    """An architecture as people know it: transformers' name of it, and what its models set."""

    family: str
    settings: dict[str, Any]
    dtype: torch.dtype = torch.float64  # mixtures of experts know none wider than float32


def _experts(family: str, settings: dict[str, Any]) -> Case:
    return Case(family, settings, torch.float32)


CASES = {
    "Llama 2, 3": Case("llama", {}),
    "Llama with dynamic rotation": Case("llama", SHORT),
    "Llama 4": Case("llama4_text", {"attention_chunk_size": WINDOW}),
    "Qwen2, Qwen2.5": Case("qwen2", {}),
    "Qwen2 with windows": Case("qwen2", FIRST_FULL),
    "Qwen2-MoE with windows": _experts("qwen2_moe", FIRST_FULL | EXPERTS | SHARED_EXPERT),
    "Qwen3": Case("qwen3", {}),
    "Qwen3-MoE": _experts("qwen3_moe", EXPERTS),
    "Qwen3-Next": _experts("qwen3_next", EXPERTS),
    "SmolLM3": Case("smollm3", {}),
    "Mistral": Case("mistral", SLIDING),
    "Ministral": Case("ministral", SLIDING),
    "Mixtral": _experts("mixtral", SLIDING | LOCAL_EXPERTS),
    "Phi-2": Case("phi", {}),
    "Phi-3, Phi-4": Case("phi3", SLIDING),
    "Phi-3.5-mini, Phi-4-mini": Case("phi3", SLIDING | LONG),
    "PhiMoE": _experts("phimoe", SLIDING | LOCAL_EXPERTS),
    "Gemma": Case("gemma", {}),
    "Gemma 2": Case("gemma2", MIXED | CAPPED),
    "Gemma 3": Case("gemma3_text", MIXED | {"query_pre_attn_scalar": 4}),
    "Gemma 4": Case("gemma4_text", SLIDING),
    "gpt-oss": _experts("gpt_oss", MIXED | LOCAL_EXPERTS),
    "DeepSeek-V2": _experts("deepseek_v2", LATENT | ROUTED),
    "DeepSeek-V3": _experts("deepseek_v3", LATENT | ROUTED),
    "MiniCPM3": Case("minicpm3", LATENT),
    "OLMo": Case("olmo", {}),
    "OLMo 2": Case("olmo2", {}),
    "OLMo 3": Case("olmo3", MIXED),
    "OLMoE": _experts("olmoe", EXPERTS),
    "Granite": Case("granite", {"logits_scaling": 3.0}),
    "Granite-MoE": _experts("granitemoe", LOCAL_EXPERTS | {"logits_scaling": 3.0}),
    "Cohere": Case("cohere", {"logit_scale": 0.3}),
    "Cohere 2": Case("cohere2", MIXED | {"logit_scale": 0.3}),
    "GLM-4": Case("glm4", {}),
    "GLM-4-MoE": _experts("glm4_moe", ROUTED),
    "Exaone 4": Case("exaone4", MIXED),
    "Hunyuan": Case("hunyuan_v1_dense", {}),
    "Ernie 4.5": Case("ernie4_5", {}),
    "Seed-OSS": Case("seed_oss", {}),
    "Arcee": Case("arcee", {}),
    "Apertus": Case("apertus", {}),
    "Helium": Case("helium", {}),
    "dots.1": _experts("dots1", ROUTED | {"n_shared_experts": 1}),
    "Starcoder 2": Case("starcoder2", SLIDING),
    "StableLM": Case("stablelm", {}),
    "Nemotron": Case("nemotron", {}),
    "Falcon 7B": Case("falcon", OWN_HEADS | {"multi_query": True}),
    "Falcon 40B": Case("falcon", OWN_HEADS | {"num_kv_heads": 2, "new_decoder_architecture": True}),
    "Falcon with ALiBi": Case("falcon", OWN_HEADS | {"alibi": True}),
    "GPT-2": Case("gpt2", {}),
    "GPT-NeoX, Pythia": Case("gpt_neox", {}),
    "GPT-J": Case("gptj", {"rotary_dim": 4}),
    "GPT-BigCode": Case("gpt_bigcode", {}),
    "OPT": Case("opt", {"word_embed_proj_dim": 16, "ffn_dim": 24}),
    "Persimmon": Case("persimmon", {}),
    "BLOOM": Case("bloom", OWN_HEADS),
    "MPT": Case("mpt", OWN_HEADS),
    "Mamba": Case("mamba", OWN_HEADS),
    "Falcon Mamba": Case("falcon_mamba", OWN_HEADS),
    "Jamba": _experts("jamba", {}),
    "Falcon-H1": Case("falcon_h1", {"mamba_d_ssm": 16, "mamba_n_heads": 2, "mamba_d_head": 8}),
    "Zamba": Case("zamba", {}),
    "RecurrentGemma": Case("recurrent_gemma", {}),
    "LFM2": Case("lfm2", {"layer_types": ["conv", "full_attention", "conv"]}),
    "RWKV": Case("rwkv", OWN_HEADS),
}  # fmt: skip


ATTENTIONS = {
    "plain": Case("llama", {}),
    "windows": Case("gemma3_text", MIXED | {"query_pre_attn_scalar": 4}),
    "capped scores": Case("gemma2", MIXED | CAPPED),
    "capped scores without windows": Case("gemma2", FULL | CAPPED),
    "sinks": _experts("gpt_oss", MIXED | ONE_EXPERT),
    "sinks without windows": _experts("gpt_oss", FULL | ONE_EXPERT),
    "unequal widths": _experts("deepseek_v2", LATENT | DENSE),
    "unequal widths, whole vectors": _experts("deepseek_v2", LATENT | DENSE | WHOLE_VECTORS),
    "fewer heads in some layers": Case("gemma4_text", MIXED | FEWER_HEADS),
}
"""One of each kind of attention, with no experts to choose among."""


def verdict(case: Case) -> str:
    """``exact``, ``refused: SENTENCE``, or what went wrong."""
    hf = tiny.transformer(case.family, 6, VOCABULARY, case.dtype, **case.settings)
    with contextlib.suppress(ValueError):
        hf.set_attn_implementation("eager")
    try:
        model = load_model(hf)
    except ValueError as refusal:
        return f"refused: {refusal}"
    answers = [row[0].tokens for row in sample(model, PROMPTS, GREEDY, rows=3)]
    if answers != [own_greedy(hf, prompt) for prompt in PROMPTS]:
        return "WRONG: other answers than whole passes give"
    worst = max(differences(hf, model), default=0.0)
    return "exact" if worst < TOLERANCE[case.dtype] else f"WRONG by {worst:.2g} nats"


def own_greedy(hf: PreTrainedModel, prompt: list[int]) -> list[int]:
    """Greedy decoding by whole passes of the untouched model."""
    tokens = list(prompt)
    with torch.inference_mode():
        for _ in range(NEW_TOKENS):
            logits = hf(input_ids=torch.tensor([tokens]), use_cache=False).logits
            tokens.append(int(logits[0, -1].argmax()))
            if tokens[-1] == tiny.EOS:
                break
    return tokens[len(prompt) :]


def differences(hf: PreTrainedModel, model: Model) -> Iterator[float]:
    """How far log p and log t of blended power sampling are from those of slow passes."""
    for layer, norm in itertools.product(range(model.num_layers), ("none", "final")):
        blend = {"source": "layer", "layer": layer, "norm": norm, "beta": BETA}
        answers = sample(model, PROMPTS[2:], POWER | {"blend": blend}, rows=2)
        for prompt, (answer,) in zip(PROMPTS[2:], answers, strict=True):
            base, source = slow_logits(hf, prompt + answer.tokens, layer, norm)
            guided = base.lerp(source, BETA)
            at = slice(len(prompt) - 1, -1)
            chosen = torch.tensor(answer.tokens)[:, None]
            log_p, log_guided = (
                z.double().log_softmax(-1)[at].gather(1, chosen).sum() for z in (base, guided)
            )
            yield abs(float(log_p) - answer.log_p)
            yield abs(POWER["alpha"] * float(log_guided) - answer.log_t)  # type: ignore[operator]


@torch.inference_mode()
def slow_logits(
    hf: PreTrainedModel, tokens: list[int], layer: int, norm: str
) -> tuple[Tensor, Tensor]:
    """Logits [tokens, vocabulary] of the model, and of a layer through its own ``lm_head``."""
    backbone: Any = next(m for m in hf.modules() if _has_layers(m))
    layers = next(getattr(backbone, n) for n in DECODER_LAYER_NAMES if hasattr(backbone, n))
    normalise = next(getattr(backbone, n) for n in FINAL_NORM_NAMES if hasattr(backbone, n))
    seen: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: Any, output: Any) -> None:
        seen.append(output[0] if isinstance(output, tuple) else output)

    def replace(_module: nn.Module, _inputs: Any, output: Any) -> Any:
        output.last_hidden_state = normalise(seen[0]) if norm == "final" else seen[0]
        return output

    ids = torch.tensor([tokens])
    with layers[layer].register_forward_hook(keep):
        base = hf(input_ids=ids, use_cache=False).logits[0]
    with backbone.register_forward_hook(replace):
        source = hf(input_ids=ids, use_cache=False).logits[0]
    return base, source


def _has_layers(module: nn.Module) -> bool:
    return any(isinstance(getattr(module, n, None), nn.ModuleList) for n in DECODER_LAYER_NAMES)


def table() -> str:
    """A line for each architecture."""
    lines = ["| Architecture | in transformers | |", "| :-- | :-- | :-- |"]
    for name, case in CASES.items():
        said = verdict(case)
        lines.append(f"| {name} | `{case.family}` | {said.replace('|', '')} |")
        print(lines[-1], file=sys.stderr)
    return "\n".join(lines)


if __name__ == "__main__":
    transformers.logging.set_verbosity_error()
    page = Path(sys.argv[1])
    text = page.read_text(encoding="utf-8")
    start = text.index("| Architecture |")
    page.write_text(text[:start] + table() + "\n", encoding="utf-8")
