"""The insides of a decoder layer in few operations: same weights, same function.

transformers writes an RMS norm in eight operations, a rotation in ten, and multiplies by queries',
keys' and values' weights one after the other. A step of few rows waits for each of them: on a GPU
for its launch, on the CPU for its dispatch and a pass over the batch. A model of the Llama family
has its attention, its MLPs and its norms replaced by those below; what is not known here stays as
its authors wrote it. `Model` refuses one whose logits are not those that it had before.
"""

from collections.abc import Sequence
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn
from transformers.models.llama.modeling_llama import LlamaAttention, LlamaMLP
from transformers.models.qwen2.modeling_qwen2 import Qwen2Attention, Qwen2MLP
from transformers.models.qwen3.modeling_qwen3 import Qwen3Attention, Qwen3MLP

from powerblend.engine import attention, gpu_rows
from powerblend.engine.compiled_rows import HeadNorms, Norm, gated
from powerblend.engine.residual_norms import with_normed_sums

ATTENTIONS = (LlamaAttention, Qwen2Attention, Qwen3Attention)
MLPS = (LlamaMLP, Qwen2MLP, Qwen3MLP)

Network = TypeVar("Network", bound=nn.Module)


def fused(network: Network) -> Network:
    """Replace what is known of a network's modules; their weights become parts of ours."""
    for module in network.modules():
        for name, child in module.named_children():
            if type(child) in ATTENTIONS and _is_plain(child):
                setattr(module, name, FusedAttention(child))
            elif type(child) in MLPS and _is_plain(child):
                setattr(module, name, FusedMLP(child))
            elif (norm := _as_torch_s(child)) is not None:
                setattr(module, name, norm)
    with_normed_sums(network)
    return network


class Merged(nn.Module):
    """Linear maps of the same inputs as one product, under the names that they had."""

    def __init__(self, maps: dict[str, nn.Linear]) -> None:
        super().__init__()
        self._names, self._outputs = list(maps), [m.out_features for m in maps.values()]
        self.product = merged(list(maps.values()))

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        for kind in ("weight", "bias"):
            whole = getattr(self.product, kind)
            if whole is not None:
                parts = zip(self._names, whole.split(self._outputs), strict=True)
                destination.update({f"{prefix}{name}.{kind}": part for name, part in parts})


class FusedAttention(Merged):
    """Attention with rotary positions, and with norms of queries and keys where there are any."""

    def __init__(self, theirs: Any) -> None:
        super().__init__({name: getattr(theirs, name) for name in ("q_proj", "k_proj", "v_proj")})
        self.layer_idx, self.scaling = theirs.layer_idx, theirs.scaling
        # transformers' own attention, which serves outside of a cache, asks for this.
        self.num_key_value_groups = theirs.num_key_value_groups
        self._width = theirs.head_dim
        self._queries, self.kv_heads, _ = (outputs // self._width for outputs in self._outputs)
        self.o_proj = theirs.o_proj
        self.q_norm, self.k_norm = (_normed(theirs, name) for name in ("q_norm", "k_norm"))
        self._norms: HeadNorms | None = None
        if isinstance(self.q_norm, nn.RMSNorm) and isinstance(self.k_norm, nn.RMSNorm):
            heads = ((self.q_norm, self._queries), (self.k_norm, self.kv_heads))
            weights = [norm.weight.detach().expand(n, -1) for norm, n in heads]
            self._norms = HeadNorms(torch.cat(weights), cast(float, self.q_norm.eps))
        has_none = self.q_norm is None and self.k_norm is None
        self._norms_are_known = has_none or self._norms is not None

    def forward(
        self,
        hidden_states: Tensor,
        position_embeddings: tuple[Tensor, Tensor],
        attention_mask: Tensor | None = None,
        **options: Any,
    ) -> tuple[Tensor, None]:
        """[rows, new, hidden] in and out, as the module that it stands for."""
        by_head = self.product(hidden_states).unflatten(-1, (-1, self._width))
        if self._norms_are_known:
            in_place = attention.attend_in_place(self, by_head, position_embeddings, self._norms)
            if in_place is not None:
                return self.o_proj(in_place.flatten(2)), None
        heads = [self._queries, self.kv_heads]
        query, key = rotated(self._normed(by_head), *position_embeddings).split(heads, 2)
        output, _ = attention.attend(
            self,
            query.transpose(1, 2),
            key.transpose(1, 2),
            by_head[:, :, -self.kv_heads :].transpose(1, 2),
            attention_mask,
            scaling=self.scaling,
            **options,
        )
        return self.o_proj(output.flatten(2)), None

    def _normed(self, by_head: Tensor) -> Tensor:
        """Queries and keys [rows, new, heads, width] out of all heads, normed if they are to be."""
        query, key, _ = by_head.split([self._queries, self.kv_heads, self.kv_heads], 2)
        if self.q_norm is None or self.k_norm is None:
            return by_head[:, :, : -self.kv_heads]
        if self._norms is None:
            return torch.cat([self.q_norm(query), self.k_norm(key)], 2)
        # The values are normed with the rest, for nothing: to leave them out takes a copy.
        normed = nn.functional.rms_norm(by_head, (self._width,), None, self._norms.eps)
        return normed[:, :, : -self.kv_heads] * self._norms.weight


class FusedMLP(Merged):
    """A gated MLP."""

    def __init__(self, theirs: Any) -> None:
        super().__init__({name: getattr(theirs, name) for name in ("gate_proj", "up_proj")})
        self.down_proj, self.act_fn = theirs.down_proj, theirs.act_fn
        numbers = torch.linspace(-9, 9, 64)
        self._is_silu = torch.allclose(self.act_fn(numbers), nn.functional.silu(numbers))

    def forward(self, inputs: Tensor) -> Tensor:
        """[..., hidden] in and out."""
        both = self.product(inputs)
        if self._is_silu:
            by_gates = gpu_rows.gated if gpu_rows.serves(both) else gated
            return cast(Tensor, self.down_proj(by_gates(both)))
        gate, up = both.chunk(2, -1)
        return cast(Tensor, self.down_proj(self.act_fn(gate) * up))


def rotated(by_head: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate heads [rows, new, heads, width] by angles [rows, new, width] (Su et al. 2021, eq. 34).

    As in Llama's code, a number is paired with the one half a width away, and both have one angle.
    """
    cos, sin = cos[:, :, None], sin[:, :, None]
    half = by_head.shape[-1] // 2
    first, second = by_head[..., :half], by_head[..., half:]
    output = by_head * cos
    output[..., :half].addcmul_(second, sin[..., :half], value=-1)
    output[..., half:].addcmul_(first, sin[..., half:])
    return output


@torch.no_grad()
def merged(maps: Sequence[nn.Linear]) -> nn.Linear:
    """Linear maps of the same inputs as one, whose outputs lie side by side.

    The maps' own weights become views of its, so that none is held in memory twice.
    """
    outputs = [linear.out_features for linear in maps]
    whole = nn.Linear(maps[0].in_features, sum(outputs), maps[0].bias is not None, device="meta")
    for kind, _ in list(whole.named_parameters()):
        parts = [getattr(linear, kind) for linear in maps]
        joined = torch.cat(parts)
        for part, view in zip(parts, joined.split(outputs), strict=True):
            part.data = view
        setattr(whole, kind, nn.Parameter(joined, requires_grad=False))
    return whole


def _is_plain(module: nn.Module) -> bool:
    """Whether its maps are torch's own, and not quantised, say, or adapted."""
    return all(type(m) is nn.Linear for name, m in module.named_children() if "proj" in name)


def _normed(theirs: nn.Module, name: str) -> nn.Module | None:
    """A norm that a module may have, as torch's own if that can be."""
    norm = getattr(theirs, name, None)
    return norm and (_as_torch_s(norm) or norm)


@torch.no_grad()
def _as_torch_s(module: nn.Module) -> nn.RMSNorm | None:
    """An RMS norm as torch's own, if it is one: both are tried, for a name says little.

    In float64 it is not, for transformers computes its norms in float32.
    """
    eps = getattr(module, "variance_epsilon", None)
    if eps is None or [name for name, _ in module.named_parameters()] != ["weight"]:
        return None
    weight: Any = module.weight
    norm = Norm(weight.shape, eps, device="meta")
    norm.weight = weight
    numbers = torch.linspace(-3, 5, weight.numel(), dtype=weight.dtype, device=weight.device)
    # Theirs rounds in between where the numbers are halves.
    close = torch.allclose(norm(numbers), module(numbers), rtol=4 * torch.finfo(weight.dtype).eps)
    return norm if close else None
