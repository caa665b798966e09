"""Blending in the logits of a DFlash draft of the target."""

from typing import Literal

from pydantic import Field

from powerblend.blends.base import Blend

TRAINED = "trained"
"""Names the draft that the study's ``training`` section makes."""


class DraftBlend(Blend):
    """z_source is a draft's, which reads the target's hidden states in the same forward pass.

    The grid of the draft's blocks begins at the first answer token. A block's first token, which
    the draft is given, is the target's alone.
    """

    source: Literal["draft"] = "draft"
    draft: str | None = Field(
        default=None,
        description="hub id or directory of a DFlash draft of the model, or trained: the one that "
        "the study's training section makes. From Python, load_model is given it instead",
    )
    revision: str | None = Field(default=None, description="commit of the draft's hub repository")

    def check(self, num_layers: int) -> None:
        """Whether a draft fits its target is checked when it is loaded."""
