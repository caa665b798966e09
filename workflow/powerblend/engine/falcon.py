"""Falcon's attention, which transformers does not plug in by name: the same weights, and `attend`.

Only with rotary positions: biases that grow with distance (ALiBi) need another contract.
"""

from typing import Any, TypeVar

from torch import Tensor, nn
from transformers import AttentionInterface
from transformers.models.falcon.modeling_falcon import FalconAttention, apply_rotary_pos_emb

Network = TypeVar("Network", bound=nn.Module)


class PluggedFalconAttention(nn.Module):
    """A FalconAttention whose scores are left to the attention that its configuration names."""

    def __init__(self, theirs: FalconAttention) -> None:
        super().__init__()
        self.layer_idx, self.config = theirs.layer_idx, theirs.config
        self.query_key_value, self.dense = theirs.query_key_value, theirs.dense
        self._split_heads, self._scaling = theirs._split_heads, theirs.inv_norm_factor

    def forward(
        self,
        hidden_states: Tensor,
        alibi: None,
        attention_mask: Tensor | None,
        position_embeddings: tuple[Tensor, Tensor],
        **_: Any,
    ) -> tuple[Tensor, None]:
        """[rows, new, hidden] in and out, as the module that it stands for."""
        by_head = self._split_heads(self.query_key_value(hidden_states))
        query, key, value = (part.transpose(1, 2) for part in by_head)
        query, key = apply_rotary_pos_emb(query, key, *position_embeddings)
        attend = AttentionInterface()[self.config._attn_implementation]
        output, _ = attend(self, query, key, value, attention_mask, scaling=self._scaling)
        return self.dense(output.flatten(2)), None


def plugged(network: Network) -> Network:
    """Replace Falcon's attention in a network that has it."""
    for module in network.modules():
        for name, child in module.named_children():
            if type(child) is FalconAttention and not child.config.alibi:
                setattr(module, name, PluggedFalconAttention(child))
    return network
