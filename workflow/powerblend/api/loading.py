"""Loading a model: files, precisions, devices, and the tokens that end an answer.

Knows no samplers and no prompts.
"""

import copy
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoTokenizer,
    GenerationConfig,
    PretrainedConfig,
    PreTrainedModel,
)
from transformers.quantizers.auto import AutoHfQuantizer

from powerblend.draft.dflash import Draft
from powerblend.draft.guided import DraftedModel
from powerblend.engine.model import Model, check_architecture

DTYPES: dict[str, torch.dtype | str] = {
    "float32": torch.float32,
    "float64": torch.float64,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "auto": "auto",
}
"""Precisions by name; auto: that of the model's files."""


def load_model(
    source: str | Path | PreTrainedModel,
    *,
    tokenizer: Any = None,
    eos_token_ids: int | Sequence[int] | None = None,
    draft: Draft | None = None,
    dtype: str | torch.dtype = "float32",
    device: str = "cpu",
    revision: str | None = None,
) -> Model:
    """Load a causal language model for sampling.

    Parameters
    ----------
    source
        A directory, a Hugging Face hub id, or a transformers model already in memory, which keeps
        its dtype and device, and is not changed; one that peft, torch.compile or DataParallel has
        wrapped too.
    tokenizer
        Only with a model in memory: its tokenizer, or None for bare token ids.
    eos_token_ids
        The tokens that end an answer, or the one; by default those that the model's configuration,
        generation configuration and tokenizer name, together. Nothing else of a generation
        configuration (top-k, top-p, penalties) is used.
    draft
        From `load_draft`, for a blend that has it as its source.
    dtype
        ``float32``, ``float64``, ``bfloat16``, ``float16``, ``auto``, or one of torch's own.
    device
        A torch device; asking for CUDA where there is none raises RuntimeError.
    revision
        Commit of a hub repository.

    Raises
    ------
    ValueError
        If the dtype is unknown, no EOS token is known, the architecture is not supported, or the
        draft is not one from `load_draft` or was made for another model.
    OSError
        If there is no such model or its files are damaged, in one sentence with the way out.
    """
    # Denormal numbers are slow and negligible, and alpha z leaves most of a vocabulary among them.
    torch.set_flush_denormal(True)
    if not isinstance(draft, Draft | None):
        raise ValueError(f"draft is {draft!r}; load it first: draft=load_draft({str(draft)!r})")
    given = [eos_token_ids] if isinstance(eos_token_ids, int) else eos_token_ids
    if isinstance(source, nn.Module):
        hf = _unwrapped(source)
        ends = given or _eos_token_ids(hf, tokenizer)
        return _with_draft(hf, tokenizer, ends, draft)
    name = str(dtype).removeprefix("torch.")
    if name not in DTYPES:
        raise ValueError(f"dtype is {dtype!r}; use one of {', '.join(DTYPES)}")
    if torch.device(device).type == "cuda" and not torch.cuda.is_available():
        raise RuntimeError(
            "a GPU was asked for, but torch finds no CUDA device: check the driver and "
            'CUDA_VISIBLE_DEVICES, or run on the CPU: device="cpu" from Python, --resources gpu=0 '
            "in a study"
        )
    try:
        tokenizer, hf = _from_files(source, DTYPES[name], revision)
    except (ImportError, OSError, ValueError, RuntimeError, SafetensorError) as error:
        where = f"{source} at revision {revision}" if revision else str(source)
        reason = str(error).strip().splitlines()[0]
        raise OSError(
            f"cannot load the model {where}: {reason} "
            "(give a directory with config.json, model.safetensors and a tokenizer, or a hub id)"
        ) from error
    ends = given or _eos_token_ids(hf, tokenizer)
    return _with_draft(hf.requires_grad_(False).to(device), tokenizer, ends, draft, owned=True)


def _with_draft(
    hf: PreTrainedModel,
    tokenizer: Any,
    eos_token_ids: Sequence[int],
    draft: Draft | None,
    *,
    owned: bool = False,
) -> Model:
    """The engine's model, which keeps a draft if it is given one."""
    if draft is None:
        return Model(hf, tokenizer, eos_token_ids, owned=owned)
    return DraftedModel(hf, tokenizer, eos_token_ids, draft, owned=owned)


def _unwrapped(module: nn.Module) -> PreTrainedModel:
    """The transformers model in what others have put around it.

    Raises
    ------
    ValueError
        If there is none, or if its layers are on several devices.
    """
    inner: Any = module
    while not isinstance(inner, PreTrainedModel):
        if hasattr(inner, "get_base_model"):  # peft
            if getattr(inner.active_peft_config, "is_prompt_learning", False):
                raise ValueError(
                    f"source is a {type(inner).__name__} with tokens of its own before a prompt, "
                    "which would be lost here: give the model that it was made of"
                )
            inner = inner.get_base_model()
            continue
        # torch.compile; DataParallel and its kin.
        within = getattr(inner, "_orig_mod", None) or getattr(inner, "module", None)
        if within is None:
            break
        inner = within
    if not isinstance(inner, PreTrainedModel):
        raise ValueError(
            f"source is a {type(module).__name__}, which holds no transformers model: give a "
            "PreTrainedModel, a directory or a hub id"
        )
    places = set(map(str, getattr(inner, "hf_device_map", {}).values()))
    if len(places) > 1:
        raise ValueError(
            f"the model is spread over {', '.join(sorted(places))}, and is decoded on one device: "
            'load it without device_map, or with device_map={"": 0}'
        )
    return inner


def _from_files(
    source: str | Path, dtype: torch.dtype | str, revision: str | None
) -> tuple[Any, Any]:
    """Tokenizer and model, with no code from their files and with all of the model's weights."""
    options = {"revision": revision, "trust_remote_code": False}
    is_path = str(source).startswith((".", "/", "~")) or str(source).count("/") > 1
    if is_path and not Path(source).is_dir():
        raise OSError("there is no such directory")
    if (Path(source) / "generation_config.json").is_file():
        # transformers passes over a damaged one, and over the EOS tokens that it names.
        GenerationConfig.from_pretrained(source)
    tokenizer = AutoTokenizer.from_pretrained(source, **options)
    config = AutoConfig.from_pretrained(source, **options)
    loaded: Any = _kind(config).from_pretrained(
        source,
        dtype=dtype,
        use_safetensors=True,
        output_loading_info=True,
        **options,
    )
    hf, loading = loaded
    if loading["missing_keys"]:
        # transformers draws them at random and goes on.
        missing = ", ".join(sorted(loading["missing_keys"])[:3])
        raise ValueError(f"its weights lack {missing}")
    return tokenizer, hf


def check_config(config: PretrainedConfig) -> int | None:
    """The positions of a model, if its configuration and code say nothing against decoding it.

    Reads no weights; None where the configuration names no end, or where an architecture cannot be
    made without weights, which is then left to `load_model`.

    Raises
    ------
    ValueError
        In one sentence, as `load_model` would.
    """
    _check_quantisation(config)
    try:
        with torch.device("meta"):
            hf = _kind(config).from_config(copy.deepcopy(config))
    except ValueError as error:
        raise ValueError(str(error).strip().splitlines()[0]) from error
    except (ImportError, NotImplementedError, RuntimeError):
        return getattr(config.get_text_config(), "max_position_embeddings", None)
    return check_architecture(hf)


def _check_quantisation(config: PretrainedConfig) -> None:
    """Refuse quantised weights whose library is not installed."""
    settings = getattr(config, "quantization_config", None)
    if settings is None:
        return
    try:
        AutoHfQuantizer.from_config(settings).validate_environment()
    except ImportError as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(f"its weights are quantised, and cannot be read here: {reason}") from error
    except (RuntimeError, ValueError):
        # What it says of devices is of this machine, and not of the one that generates.
        return


def _kind(config: PretrainedConfig) -> Any:
    """The class that makes a model of a configuration, of a multimodal wrapper too."""
    text_only = type(config) in AutoModelForCausalLM._model_mapping
    return AutoModelForCausalLM if text_only else AutoModelForImageTextToText


def _eos_token_ids(hf: PreTrainedModel, tokenizer: Any) -> list[int]:
    """Every EOS token that the model's files name, as one set for all conditions."""
    named = [
        getattr(owner, "eos_token_id", None)
        for owner in (hf.generation_config, hf.config, tokenizer)
    ]
    ids = itertools.chain.from_iterable(n if isinstance(n, list | tuple) else [n] for n in named)
    return sorted({i for i in ids if i is not None})
