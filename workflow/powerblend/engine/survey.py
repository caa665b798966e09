"""What the attention of each decoder layer is, found by running a model once on a few tokens.

An architecture says in many ways that a layer sees a window only: by an argument of attention, by a
mask, by a list of layer types. All of them end in the mask that its authors' code makes. So the
model is run with its windows cut to a few tokens, and what each layer's mask shows is what it does.
Knows transformers' names for windows, and nothing of caches.
"""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

SURVEY_NAME = "ragged_survey"

SHORT_WINDOW = 4
"""Tokens that a window is cut to, so that a short prompt leaves it."""

SURVEY_TOKENS = 3 * SHORT_WINDOW + 2
"""Their last one ends no window's length of them: chunks and windows show different tokens."""

WINDOW_NAMES = ("sliding_window", "attention_chunk_size")
"""Settings that say how far a layer sees."""


class LayerAttention(NamedTuple):
    """What the attention of a decoder layer is; ``window`` is None where it sees all before it."""

    kv_heads: int
    key_width: int
    value_width: int
    window: int | None


_found: ContextVar[dict[int, LayerAttention]] = ContextVar("found")


@contextmanager
def short_windows(hf: PreTrainedModel) -> Iterator[None]:
    """Within, every window of a model is `SHORT_WINDOW` tokens."""
    owners = {id(o): o for o in [hf.config, hf.config.get_text_config(), *hf.modules()]}
    before = [
        (owner, name, length)
        for owner in owners.values()
        for name in WINDOW_NAMES
        if isinstance(length := vars(owner).get(name), int)
    ]
    for owner, name, _ in before:
        setattr(owner, name, SHORT_WINDOW)
    try:
        yield
    finally:
        for owner, name, length in before:
            setattr(owner, name, length)


def set_attention(hf: PreTrainedModel, name: str) -> None:
    """Have a model attend by a name, where its authors left no way to say so too."""
    hf.set_attn_implementation(name)
    hf.config._attn_implementation_internal = name


@torch.inference_mode()
def survey(hf: PreTrainedModel, backbone: nn.Module, layers: nn.ModuleList) -> list[LayerAttention]:
    """The attention of each decoder layer of ``backbone``, the text model of ``hf``.

    Raises
    ------
    ValueError
        If a layer has no attention that transformers plugs in by name, as one with a recurrent
        state has none, or if it sees anything but a window or everything before it.
    """
    window = getattr(hf.config.get_text_config(), "sliding_window", None)
    tokens = torch.arange(SURVEY_TOKENS, device=hf.device)[None] % _vocabulary(hf)
    before, token = hf.config._attn_implementation, _found.set({})
    try:
        with short_windows(hf):
            set_attention(hf, SURVEY_NAME)
            backbone(input_ids=tokens, use_cache=False)
        found = _found.get()
    except (AttributeError, IndexError, NotImplementedError, RuntimeError, TypeError) as error:
        # Whatever an architecture of another kind comes upon, with nothing of what it prints.
        reason = str(error).strip().splitlines()[0][:200]
        raise ValueError(f"{type(hf).__name__} cannot be decoded here: {reason}") from error
    finally:
        _found.reset(token)
        set_attention(hf, before)
    missing = set(range(len(layers))) - set(found)
    if missing:
        raise ValueError(_without_attention(layers[min(missing)], min(missing)))
    ordered = [found[layer] for layer in range(len(layers))]
    return [layer._replace(window=layer.window and window) for layer in ordered]


def check_layers(hf: PreTrainedModel, layers: nn.ModuleList) -> None:
    """Refuse what the code of decoder layers shows: no attention, a state, chunks, sparsity.

    Runs nothing, so that ``hf`` may have no weights.

    Raises
    ------
    ValueError
        In the sentence by which `survey` would.
    """
    for index, layer in enumerate(layers):
        plugs = [module for module in layer.modules() if _plugs_in(module)]
        if not plugs:
            raise ValueError(_without_attention(layer, index))
        for module in layer.modules():
            if any("Indexer" in type(child).__name__ for child in module.children()):
                raise ValueError(_sparse(module))
            if any(isinstance(child, nn.Conv1d) for child in module.children()):
                raise ValueError(_with_state(layer, index, module))
    config = hf.config.get_text_config()
    if "chunked_attention" in (getattr(config, "layer_types", None) or ()):
        chunked = config.layer_types.index("chunked_attention")
        raise ValueError(_chunked(next(m for m in layers[chunked].modules() if _plugs_in(m))))


def _plugs_in(module: nn.Module) -> bool:
    """Whether a module asks transformers for an attention by name, as its code says."""
    methods = filter(inspect.isfunction, vars(type(module)).values())
    names = {name for method in methods for name in inspect.unwrap(method).__code__.co_names}
    return bool({"ALL_ATTENTION_FUNCTIONS", "AttentionInterface"} & names)


def _record(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Attention that notes what it is asked for."""
    if any(options.get(name) is not None for name in ("indices", "block_indices")):
        raise ValueError(_sparse(module))
    window = options.get("sliding_window") or _window_of(module, attention_mask)
    layer = LayerAttention(key.shape[1], key.shape[-1], value.shape[-1], window)
    index = cast(int | None, getattr(module, "layer_idx", None))
    if index is None:
        raise ValueError(
            f"{type(module).__name__} does not say which layer it is of, as where several layers "
            "share one attention: this model cannot be decoded here"
        )
    _found.get()[index] = layer
    scaling = options.get("scaling")
    output, _ = sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling)
    return output, None


def _window_of(module: nn.Module, mask: Tensor | None) -> int | None:
    """How far the last token of a mask [1, 1, tokens, tokens] sees."""
    if mask is None:
        return None
    visible = mask[0, 0, -1] if mask.dtype == torch.bool else mask[0, 0, -1] >= 0
    if visible.all():
        return None
    if visible[-SHORT_WINDOW:].all() and not visible[:-SHORT_WINDOW].any():
        return SHORT_WINDOW
    raise ValueError(_chunked(module))


def _sparse(module: nn.Module) -> str:
    return (
        f"{type(module).__name__} attends to tokens that it chooses among those before, as where "
        "attention is sparse: this model cannot be decoded here"
    )


def _chunked(module: nn.Module) -> str:
    return (
        f"{type(module).__name__} sees neither everything before a token nor a window of the last "
        "tokens, as where attention goes by chunks: this model cannot be decoded here"
    )


def _whole_mask(*arguments: Any, **options: Any) -> Tensor | None:
    """The mask that an architecture makes, written out where torch could do without it."""
    return sdpa_mask(*arguments, **options | {"allow_is_causal_skip": False})


def _with_state(layer: nn.Module, index: int, module: nn.Module) -> str:
    return (
        f"decoder layer {index} ({type(layer).__name__}) has beside its attention a "
        f"{type(module).__name__}, whose state cannot be rewound as a cache of keys can: this "
        "model cannot be decoded here; use one whose layers only attend"
    )


def _without_attention(layer: nn.Module, index: int) -> str:
    parts = [
        type(child).__name__
        for name, child in layer.named_children()
        if "norm" not in name and "mlp" not in name and "drop" not in name
    ]
    return (
        f"decoder layer {index} ({type(layer).__name__}: {', '.join(parts)}) has no attention that "
        "transformers plugs in by name, but a recurrent state or an attention of its own: this "
        "model cannot be decoded here; use one whose layers all attend"
    )


def _vocabulary(hf: PreTrainedModel) -> int:
    return int(cast(Tensor, hf.get_input_embeddings().weight).shape[0])


AttentionInterface.register(SURVEY_NAME, _record)
AttentionMaskInterface.register(SURVEY_NAME, _whole_mask)
