"""transformers' own DFlash network, with the weights of ours: written independently."""

from typing import Any

from transformers import MuseGlimmerAssistantConfig, MuseGlimmerAssistantModel

from powerblend.draft.dflash import Draft

SHARED = (
    *("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"),
    *("num_key_value_heads", "head_dim", "rms_norm_eps", "rope_parameters", "hidden_act"),
)
RENAMED = {"fc.": "encoder.fc.", "hidden_norm.": "encoder.output_norm_enc."}


def reference_draft(draft: Draft) -> Any:
    """Load the published names into it, two of them renamed."""
    own = draft.architecture
    config = MuseGlimmerAssistantConfig(
        **{name: getattr(own.qwen3, name) for name in SHARED},
        layer_types=["full_attention"] * own.qwen3.num_hidden_layers,
        block_size=own.block_size,
        mask_token_id=own.mask_token,
        target_layer_ids=list(own.feature_layers),
    )
    reference = MuseGlimmerAssistantModel(config)
    weights = {}
    for name, weight in draft.state_dict().items():
        for ours, theirs in RENAMED.items():
            name = theirs + name.removeprefix(ours) if name.startswith(ours) else name
        weights[name] = weight
    reference.load_state_dict(weights, strict=True)
    return reference.to(next(draft.parameters()).dtype).eval()
