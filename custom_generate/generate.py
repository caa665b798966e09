"""Power sampling for a transformers model in memory, in the place of its own ``generate``.

model.generate(**inputs, custom_generate=FOLDER, trust_remote_code=True, alpha=4.0, blocks=8)

FOLDER holds this folder, or is the name of a hub repository that does. The keys are those of a
powerblend decoding mapping; what `generate` has and this has not is refused by name.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, PreTrainedModel
from transformers.generation import GenerateDecoderOnlyOutput

from powerblend import load_model, sample

DEFAULT_MAX_NEW_TOKENS = 256

PASSED_ON = {"use_model_defaults", "synced_gpus", "use_cache", "token_type_ids"}
"""Arguments that decide nothing here."""


def generate(
    model: PreTrainedModel,
    inputs: Tensor | None = None,
    generation_config: GenerationConfig | None = None,
    *,
    input_ids: Tensor | None = None,
    attention_mask: Tensor | None = None,
    max_new_tokens: int | None = None,
    num_return_sequences: int | None = None,
    eos_token_id: int | Sequence[int] | None = None,
    pad_token_id: int | None = None,
    return_dict_in_generate: bool | None = None,
    sampler: str = "power",
    alpha: float = 4.0,
    seed: int | None = None,
    rows: int | None = 32,
    **decoding: Any,
) -> Tensor | GenerateDecoderOnlyOutput:
    """Prompts with their answers.

    Parameters
    ----------
    inputs, input_ids
        Prompts [prompts, tokens], padded on whichever side ``attention_mask`` says.
    num_return_sequences
        Answers per prompt; those of a prompt are rows one after another.
    eos_token_id, pad_token_id
        What ends an answer, and what fills up behind it; by default as `generate` has them.
    sampler, alpha, decoding
        The way of decoding: as ``sampler="power", alpha=4.0, blocks=8, steps=2``.
    seed
        Determines every random number; None: drawn from torch's own generator.
    rows
        Chains at once.

    Returns
    -------
    Token ids [prompts * answers, tokens], of the prompts as they were given and then the answers.

    Raises
    ------
    ValueError
        If an argument is none of powerblend's, or not allowed.
    """
    prompts = input_ids if inputs is None else inputs
    if prompts is None:
        raise ValueError("there are no prompts: give input_ids")
    config = generation_config or model.generation_config
    keys = {key: v for key, v in decoding.items() if v is not None and key not in PASSED_ON}
    if sampler in ("power", "particles") or (
        sampler == "temperature" and "temperature" not in keys
    ):
        keys["alpha"] = alpha
    longest = max_new_tokens or config.max_new_tokens or DEFAULT_MAX_NEW_TOKENS
    answers = sample(
        load_model(model, eos_token_ids=eos_token_id),
        _without_padding(prompts, attention_mask),
        {"sampler": sampler, "max_new_tokens": longest, **keys},
        samples=num_return_sequences or config.num_return_sequences or 1,
        seed=int(torch.randint(2**31, ())) if seed is None else seed,
        rows=rows,
    )
    padding = _padding(model, config, pad_token_id)
    sequences = _padded(prompts, [[g.tokens for g in row] for row in answers], padding)
    wants_dict = (
        config.return_dict_in_generate
        if return_dict_in_generate is None
        else (return_dict_in_generate)
    )
    return GenerateDecoderOnlyOutput(sequences=sequences) if wants_dict else sequences


def _without_padding(prompts: Tensor, mask: Tensor | None) -> list[list[int]]:
    kept = torch.ones_like(prompts) if mask is None else mask
    return [row[keep.bool()].tolist() for row, keep in zip(prompts, kept, strict=True)]


def _padding(model: PreTrainedModel, config: GenerationConfig, given: int | None) -> int:
    """What fills up behind an answer: as `generate`, in want of anything else, an EOS."""
    named = [given, config.pad_token_id, config.eos_token_id, model.config.eos_token_id, 0]
    first = next(token for token in named if token is not None)
    return first[0] if isinstance(first, list) else first


def _padded(prompts: Tensor, answers: list[list[list[int]]], padding: int) -> Tensor:
    """Each prompt before each of its answers, these filled up to the longest."""
    longest = max(len(tokens) for row in answers for tokens in row)
    filled = [[*tokens, *[padding] * (longest - len(tokens))] for row in answers for tokens in row]
    repeated = prompts.repeat_interleave(len(answers[0]), 0)
    return torch.cat([repeated, torch.tensor(filled, device=prompts.device)], -1)
