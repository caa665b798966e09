"""The draft network, in a form that serves rows of different lengths, under the published names.

Its layers are Qwen3's but for where attention looks: the keys and values of the context come from
the target's features, ``hidden_norm(fc(features))``, so that they depend on nothing but one
position of the target and can be cached; queries, and further keys and values, come from the block
itself, whose positions all see each other. It has no embedding and no ``lm_head``: it borrows the
target's.
"""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from huggingface_hub import snapshot_download
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import Qwen3Config
from transformers.models.qwen3.modeling_qwen3 import (
    Qwen3MLP,
    Qwen3RMSNorm,
    Qwen3RotaryEmbedding,
    rotate_half,
)

from powerblend.engine.attention import attention
from powerblend.infrastructure.contents import weights_of
from powerblend.infrastructure.files import share

Rotary = tuple[Tensor, Tensor]
DRAFT_FILES = ("config.json", "*.safetensors")
DFLASH_KEYS = ("model_type", "architectures", "auto_map", "block_size", "dflash_config")
"""Of a draft's ``config.json``, what is not about its layers."""


class Context(NamedTuple):
    """What a layer's block attends to: keys and values [rows, kv_heads, length, head_dim].

    ``prefix`` are those [kv_heads, length, head_dim] that come before, common to all rows, if any.
    """

    keys: Tensor
    values: Tensor
    prefix: tuple[Tensor, Tensor] | None = None


class TargetSizes(NamedTuple):
    """The sizes of a target, which a draft must fit."""

    name: str
    num_layers: int
    hidden_size: int
    vocabulary: int


PLAIN_SETTINGS: dict[str, Any] = {
    "input_embedding_scale": 1.0,
    "output_multiplier": 1.0,
    "final_logit_softcapping": None,
    "is_causal": False,
}
"""Settings by which a draft would compute otherwise, and what they are where it does not."""


class Architecture(NamedTuple):
    """A draft's ``config.json``: layers as Qwen3's, and what DFlash adds.

    ``feature_layers`` are the target's decoder layers, counted from 0, whose outputs it reads.
    """

    qwen3: Qwen3Config
    feature_layers: tuple[int, ...]
    mask_token: int
    block_size: int

    @classmethod
    def parse(cls, config: dict[str, Any], source: str) -> "Architecture":
        """Read a published configuration.

        Raises
        ------
        ValueError
            If it is not that of a DFlash draft, or asks for what is not built here.
        """
        own = config.get("dflash_config", {})
        block = own.get("block_size", config.get("block_size"))
        feature_layers, mask = own.get("target_layer_ids"), own.get("mask_token_id")
        if not feature_layers or mask is None or not block or block < 2:
            raise ValueError(
                f"{source} is no DFlash draft: its config.json lacks block_size (2 or more), "
                "dflash_config.target_layer_ids or dflash_config.mask_token_id"
            )
        qwen3 = Qwen3Config(**{k: v for k, v in config.items() if k not in DFLASH_KEYS})
        if any(kind != "full_attention" for kind in qwen3.layer_types or ()):
            raise ValueError(f"{source}: a draft with sliding attention is not supported")
        for key, plain in PLAIN_SETTINGS.items():
            asked = own.get(key, config.get(key, plain))
            if asked not in (plain, None):
                raise ValueError(
                    f"{source}: a draft with {key} {asked!r} is not supported; only {plain!r} is"
                )
        if min(feature_layers) < 0 or mask < 0:
            raise ValueError(
                f"{source}: dflash_config has target_layer_ids {list(feature_layers)} and "
                f"mask_token_id {mask}; layers and tokens count from 0"
            )
        return cls(qwen3, tuple(feature_layers), mask, block)

    def as_config(self) -> dict[str, Any]:
        """The configuration as published drafts have it."""
        own = {"target_layer_ids": list(self.feature_layers), "mask_token_id": self.mask_token}
        return {
            **self.qwen3.to_diff_dict(),
            "architectures": ["DFlashDraftModel"],
            "block_size": self.block_size,
            "dflash_config": own,
        }

    def check_fit(self, source: str, target: TargetSizes) -> None:
        """Raise ValueError if the draft was not made for such a target."""
        misfit = None
        if self.qwen3.hidden_size != target.hidden_size:
            misfit = f"its hidden size is {self.qwen3.hidden_size}, not {target.hidden_size}"
        elif max(self.feature_layers) >= target.num_layers:
            deepest = max(self.feature_layers)
            misfit = f"it reads block {deepest}, and the target has {target.num_layers}"
        elif self.qwen3.vocab_size != target.vocabulary:
            misfit = f"its vocabulary is {self.qwen3.vocab_size}, not {target.vocabulary}"
        elif self.mask_token >= target.vocabulary:
            misfit = f"its mask is token {self.mask_token}, of {target.vocabulary}"
        if misfit:
            raise ValueError(f"the draft {source} does not fit the target {target.name}: {misfit}")


class DraftAttention(nn.Module):
    """Attention of a block to the context and to itself."""

    def __init__(self, config: Qwen3Config) -> None:
        super().__init__()
        width, bias = config.head_dim, config.attention_bias
        heads = config.num_attention_heads
        kv_heads = config.num_key_value_heads or heads
        self.head_dim, self.kv_heads = width, kv_heads
        self.q_proj = nn.Linear(config.hidden_size, heads * width, bias=bias)
        self.k_proj = nn.Linear(config.hidden_size, kv_heads * width, bias=bias)
        self.v_proj = nn.Linear(config.hidden_size, kv_heads * width, bias=bias)
        self.o_proj = nn.Linear(heads * width, config.hidden_size, bias=bias)
        self.q_norm = Qwen3RMSNorm(width, eps=config.rms_norm_eps)
        self.k_norm = Qwen3RMSNorm(width, eps=config.rms_norm_eps)

    def keys(self, hidden: Tensor, rotary: Rotary) -> tuple[Tensor, Tensor]:
        """Keys and values [rows, kv_heads, new, head_dim] of hidden states [rows, new, hidden]."""
        keys = _rotated(self.k_norm(self._by_head(self.k_proj(hidden))), rotary)
        return keys, self._by_head(self.v_proj(hidden))

    def forward(self, block: Tensor, rotary: Rotary, context: Context, hidden: Tensor) -> Tensor:
        """[rows, block, hidden]; ``hidden`` [rows, 1, 1, 1, length] are keys not to be seen."""
        query = _rotated(self.q_norm(self._by_head(self.q_proj(block))), rotary)
        own_keys, own_values = self.keys(block, rotary)
        keys = torch.cat([context.keys, own_keys], 2)
        values = torch.cat([context.values, own_values], 2)
        unseen = nn.functional.pad(hidden, (0, block.shape[1]), value=False)
        grouped = query.unflatten(1, (self.kv_heads, -1)) * self.head_dim**-0.5
        output = attention(grouped, keys, values, (unseen, None), context.prefix)
        return self.o_proj(output.flatten(1, 2).transpose(1, 2).flatten(2))

    def _by_head(self, projected: Tensor) -> Tensor:
        return projected.unflatten(-1, (-1, self.head_dim)).transpose(1, 2)


class DraftLayer(nn.Module):
    """Attention and MLP, each on a normed residual stream."""

    def __init__(self, config: Qwen3Config) -> None:
        super().__init__()
        self.self_attn = DraftAttention(config)
        self.mlp = Qwen3MLP(config)
        self.input_layernorm = Qwen3RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.post_attention_layernorm = Qwen3RMSNorm(config.hidden_size, eps=config.rms_norm_eps)

    def forward(self, block: Tensor, rotary: Rotary, context: Context, hidden: Tensor) -> Tensor:
        """[rows, block, hidden] in and out."""
        block = block + self.self_attn(self.input_layernorm(block), rotary, context, hidden)
        return block + self.mlp(self.post_attention_layernorm(block))


class Draft(nn.Module):
    """A DFlash draft.

    Attributes
    ----------
    architecture
        Its configuration.
    source
        Where it came from, for messages.
    fingerprint
        SHA-256 of the weights it was loaded with; empty for one that was not loaded.
    """

    fingerprint = ""

    def __init__(self, architecture: Architecture, source: str = "draft") -> None:
        super().__init__()
        config = architecture.qwen3
        self.architecture, self.source = architecture, source
        width = config.hidden_size
        self.fc = nn.Linear(len(architecture.feature_layers) * width, width, bias=False)
        self.hidden_norm = Qwen3RMSNorm(width, eps=config.rms_norm_eps)
        self.layers = nn.ModuleList(DraftLayer(config) for _ in range(config.num_hidden_layers))
        self.norm = Qwen3RMSNorm(width, eps=config.rms_norm_eps)
        self._rotary = Qwen3RotaryEmbedding(config)

    def placed(self, device: torch.device, dtype: torch.dtype) -> "Draft":
        """The same draft, moved and cast, but for the rotation's angles: they stay in float32."""
        self.to(device, dtype)
        self._rotary = Qwen3RotaryEmbedding(self.architecture.qwen3).to(device)
        return self

    def context(self, features: Tensor, positions: Tensor) -> Tensor:
        """Keys and values of positions [rows, new], from the target's features there.

        ``features`` [rows, new, feature layers x hidden] are their outputs, side by side.
        Returns [layers, 2, rows, kv_heads, new, head_dim].
        """
        known = self.hidden_norm(self.fc(features))
        rotary = self._rotary(known, positions)
        by_layer = [layer.self_attn.keys(known, rotary) for layer in self._stack()]
        return torch.stack([torch.stack(kv) for kv in by_layer])

    def forward(
        self, block: Tensor, positions: Tensor, contexts: Iterable[Context], hidden: Tensor
    ) -> Tensor:
        """What the target's ``lm_head`` turns into the logits of the block's tokens.

        Parameters
        ----------
        block
            [rows, block, hidden]: the target's embeddings of the block's first token and masks.
        positions
            [rows, block], as the target counts them.
        contexts
            For each layer; each is asked for when its layer's turn comes.
        hidden
            [rows, 1, 1, 1, length] bool: keys of the context that are not before the block.

        Returns
        -------
        [rows, block, hidden]; entry i is for the token *at* offset i, and entry 0 is never used.
        """
        rotary = self._rotary(block, positions)
        for layer, context in zip(self._stack(), contexts, strict=True):
            block = layer(block, rotary, context, hidden)
        return self.norm(block)

    def _stack(self) -> list[DraftLayer]:
        return cast(list[DraftLayer], list(self.layers))

    def predict(
        self,
        firsts: Tensor,
        mask: Tensor,
        at: Tensor,
        contexts: Iterable[Context],
        own: range,
    ) -> Tensor:
        """The output of `forward` for blocks that begin at positions ``at`` [rows].

        ``firsts`` [rows, hidden], of their known first tokens, and ``mask`` [hidden] are embeddings
        of the target's. The contexts' own keys are of the positions ``own``, which may be more than
        a block may see.
        """
        block = mask.repeat(len(firsts), self.architecture.block_size, 1)
        block[:, 0] = firsts
        positions = at[:, None] + torch.arange(self.architecture.block_size, device=at.device)
        keys = torch.arange(own.start, own.stop, device=at.device)
        return self(block, positions, contexts, (keys >= at[:, None])[:, None, None, None])

    def save(self, directory: Path) -> None:
        """Write ``config.json`` and ``model.safetensors`` as published drafts have them."""
        directory.mkdir(parents=True, exist_ok=True)
        config = json.dumps(self.architecture.as_config(), indent=2)
        (directory / "config.json").write_text(config + "\n")
        tensors = {name: weight.contiguous() for name, weight in self.state_dict().items()}
        save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
        share(directory / "model.safetensors")


def read_architecture(source: str, revision: str | None = None) -> Architecture:
    """The configuration of a draft: a directory, or a hub id at a revision.

    Raises
    ------
    OSError
        If there is no such draft.
    ValueError
        If it is not a DFlash draft.
    """
    path = _directory(source, revision, DRAFT_FILES[:1]) / "config.json"
    try:
        return Architecture.parse(json.loads(path.read_text()), source)
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not JSON: {error}") from None


def load_draft(source: str, revision: str | None = None) -> Draft:
    """A draft from a directory, or from the hub at a revision; weights in safetensors only.

    Raises
    ------
    OSError
        If there is no such draft.
    ValueError
        If it is not a DFlash draft, or its weights are not those of its configuration.
    """
    draft = Draft(read_architecture(source, revision), source)
    directory = _directory(source, revision, DRAFT_FILES)
    weights: dict[str, Tensor] = {}
    for part in sorted(directory.glob("*.safetensors")):
        weights |= load_file(part)
    missing = sorted(draft.state_dict().keys() - weights.keys())
    unknown = sorted(weights.keys() - draft.state_dict().keys())
    if missing or unknown:
        raise ValueError(
            f"the weights of the draft {source} are not those of its config.json; "
            f"missing: {_some(missing)}; unknown: {_some(unknown)}"
        )
    draft.load_state_dict(weights)
    draft.fingerprint = weights_of(directory)
    return draft.eval()


def _directory(source: str, revision: str | None, files: Sequence[str]) -> Path:
    """A local directory as it is, or a download of some files of a hub repository."""
    if Path(source).is_dir():
        return Path(source)
    try:
        return Path(snapshot_download(source, revision=revision, allow_patterns=list(files)))
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise OSError(
            f"cannot load the draft {source} at revision {revision}: {reason} "
            "(give a directory with config.json and model.safetensors, or a hub id)"
        ) from error


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) or "none"


def _rotated(heads: Tensor, rotary: Rotary) -> Tensor:
    """Rotary positions on [rows, heads, new, head_dim] (Su et al., arXiv 2104.09864)."""
    cos, sin = (part[:, None] for part in rotary)
    return heads * cos + rotate_half(heads) * sin
