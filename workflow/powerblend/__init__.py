"""Power sampling and guided decoding for language models, exactly and fast.

>>> from powerblend import load_model, sample
>>> model = load_model("results/models/smollm2-135m-instruct")
>>> out = sample(model, [[{"role": "user", "content": "What is 2 + 2?"}]],
...              {"sampler": "power", "alpha": 4.0, "max_new_tokens": 64, "blocks": 8})
>>> print(out[0][0].text)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from powerblend.api.generation import Generation, sample
    from powerblend.api.loading import load_model
    from powerblend.draft.dflash import load_draft
    from powerblend.engine.model import Model

__all__ = ["Generation", "Model", "load_draft", "load_model", "sample"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import the engine when it is first asked for: a workflow's parser needs only the names."""
    home = {
        "Generation": "api.generation",
        "Model": "engine.model",
        "load_draft": "draft.dflash",
        "load_model": "api.loading",
        "sample": "api.generation",
    }
    if name not in home:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"powerblend.{home[name]}"), name)
