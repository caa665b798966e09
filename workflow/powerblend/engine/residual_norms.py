"""Decoder layers whose residual sums are normed as they are made, in one kernel of a GPU.

A decoder layer of the Llama family adds what attention found to its inputs and norms the sum, adds
what the MLP found, and leaves the norm of that sum to whoever reads it: the next layer, or what
comes behind the last one. Sums and norms are those of the modules replaced. On the CPU each is a
loop of its own (`compiled_rows`), of which many are run as one (`recorded_layers`).
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from transformers.models.llama.modeling_llama import LlamaDecoderLayer
from transformers.models.qwen2.modeling_qwen2 import Qwen2DecoderLayer
from transformers.models.qwen3.modeling_qwen3 import Qwen3DecoderLayer

from powerblend.engine import gpu_rows
from powerblend.engine.compiled_rows import Norm, added

LAYERS = (LlamaDecoderLayer, Qwen2DecoderLayer, Qwen3DecoderLayer)

FINAL_NORM = "norm"
"""What all of them call the norm behind the last layer."""


class NormOfSums(Norm):
    """An RMS norm, of a sum also as the sum is made."""

    _ahead: tuple[Tensor, Tensor] | None = None

    @classmethod
    @torch.no_grad()
    def of(cls, norm: nn.RMSNorm) -> "NormOfSums":
        """The same norm, of the same weights."""
        made = cls(norm.normalized_shape, norm.eps, device="meta")
        made.weight = norm.weight
        return made

    def sum(self, left: Tensor, right: Tensor) -> Tensor:
        """Add tensors [..., width]; the sum's norm is then at hand for the call that asks for it.

        Nobody may write into the sum in between.
        """
        fits = left.shape == right.shape and left.shape[-1] == self.weight.numel()
        if not fits or self.eps is None or not gpu_rows.serves(left, right, self.weight):
            return added(left, right)
        self._ahead = gpu_rows.normed_sum(left, right, self.weight, self.eps)
        return self._ahead[0]

    def forward(self, inputs: Tensor) -> Tensor:
        """[..., width] in and out."""
        ahead, self._ahead = self._ahead, None
        if ahead is not None and ahead[0] is inputs:
            return ahead[1]
        return super().forward(inputs)


class FusedLayer(nn.Module):
    """A decoder layer that norms its sums as it makes them, the last one for whoever follows."""

    def __init__(self, theirs: Any) -> None:
        super().__init__()
        # Its hooks stay its hooks.
        vars(self).update({k: v for k, v in vars(theirs).items() if k.startswith("_forward_")})
        self.self_attn, self.mlp = theirs.self_attn, theirs.mlp
        self.input_layernorm = NormOfSums.of(theirs.input_layernorm)
        self.post_attention_layernorm = NormOfSums.of(theirs.post_attention_layernorm)
        # In a tuple, for it is another module's part, and is saved as that.
        self._following: tuple[NormOfSums, ...] = ()

    def precede(self, following: NormOfSums) -> None:
        """Norm the outputs by the norm that reads them."""
        self._following = (following,)

    def forward(self, hidden_states: Tensor, **options: Any) -> Tensor:
        """[rows, new, hidden] in and out, as the module that it stands for."""
        found, _ = self.self_attn(hidden_states=self.input_layernorm(hidden_states), **options)
        hidden_states = self.post_attention_layernorm.sum(hidden_states, found)
        found = self.mlp(self.post_attention_layernorm(hidden_states))
        if not self._following or self._forward_hooks:  # which may write into the outputs
            return added(hidden_states, found)
        return self._following[0].sum(hidden_states, found)


def with_normed_sums(network: nn.Module) -> None:
    """Replace the decoder layers that are known, and the norm behind the last of them."""
    for module in list(network.modules()):
        for layers in _known_layers(module):
            for index, layer in enumerate(layers):
                layers[index] = FusedLayer(layer)
            for layer, following in pairwise(layers):
                layer.precede(following.input_layernorm)
            final = getattr(module, FINAL_NORM, None)
            if isinstance(final, nn.RMSNorm):
                setattr(module, FINAL_NORM, norm := NormOfSums.of(final))
                layers[-1].precede(norm)


def _known_layers(module: nn.Module) -> Iterator[Any]:
    """Lists of decoder layers, all of which are known."""
    for child in module.children():
        if isinstance(child, nn.ModuleList) and len(child) and all(map(_is_known, child)):
            yield child


def _is_known(layer: Any) -> bool:
    """Whether it is as its authors wrote it, but for norms, which are torch's."""
    if type(layer) not in LAYERS or "forward" in vars(layer) or layer._forward_pre_hooks:
        return False
    norms = (layer.input_layernorm, layer.post_attention_layernorm)
    return all(isinstance(norm, nn.RMSNorm) for norm in norms)
