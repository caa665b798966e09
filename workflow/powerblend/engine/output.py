"""What an architecture does to logits after ``lm_head``: a factor, a cap, or nothing.

`Model` refuses a model whose logits are not those that it had before, so what is not known here is
not passed over in silence.
"""

from typing import NamedTuple

from torch import Tensor
from transformers import PreTrainedModel


class Output(NamedTuple):
    """Logits z become c tanh(scale z / c), or scale z where there is no ``softcap`` c."""

    scale: float
    softcap: float | None

    def applied(self, logits: Tensor) -> Tensor:
        """Logits as the model's authors have them."""
        if self.scale != 1.0:
            logits = logits * self.scale
        return logits if self.softcap is None else (logits / self.softcap).tanh() * self.softcap


def output_of(hf: PreTrainedModel) -> Output:
    """The factor of Cohere and of Granite, the cap of Gemma."""
    config = hf.config.get_text_config()
    factor = float(getattr(config, "logit_scale", None) or 1.0)
    divisor = float(getattr(config, "logits_scaling", None) or 1.0)
    return Output(factor / divisor, getattr(config, "final_logit_softcapping", None))
