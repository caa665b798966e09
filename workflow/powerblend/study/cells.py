"""Cells: one fully resolved way of generating, with a name that is also its identity.

A cell's spec holds everything that decides what is generated and nothing else: only the keys that
its condition reads, not the number of samples, the shards, the batch or the device. Its canonical
JSON is a generate job's parameter and the digest of that is in the path, so a changed setting is a
missing file, an old one is still there, and equal settings are one cell, whatever they are called.
"""

import hashlib
import json
from typing import Any, NamedTuple

from powerblend.engine import REVISION
from powerblend.samplers import Sampler
from powerblend.study.config import Study
from powerblend.study.prompts import read_shots

SHORT = {"power": "ps", "temperature": "temp"}
"""Samplers as the names of conditions have them."""


class Cell(NamedTuple):
    """A way of generating: a readable name ending in the digest of its spec, and the spec."""

    name: str
    spec: str


def cells_of(study: Study) -> dict[str, Cell]:
    """The cell of each of the study's conditions, in their order."""
    return {name: _cell(study, sampler) for name, sampler in study.samplers().items()}


def canonical(value: Any) -> str:
    """JSON that is equal exactly when the values are."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def digest(text: str) -> str:
    """Ten hexadecimal digits that name a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def _cell(study: Study, sampler: Sampler) -> Cell:
    decoding = sampler.model_dump(exclude_none=True)
    spec = canonical(
        {
            "engine": REVISION,
            "model": study.model.model_dump(),
            "dataset": study.dataset.model_dump(),
            "prompt": study.prompt.model_dump() | {"shots": read_shots(study.prompt)},
            "seed": study.seed,
            "decoding": decoding,
        }
    )
    return Cell(f"{_slug(decoding)}-{digest(spec)}", spec)


def _slug(decoding: dict[str, Any]) -> str:
    """What a reader wants to know first: ``blend_ps-b0.05-l27``."""
    name: str = SHORT.get(decoding["sampler"], decoding["sampler"])
    blend = decoding.get("blend")
    if blend is None:
        return name
    prefix = "blend" if blend["source"] == "layer" else f"{blend['source']}_blend"
    layer = [f"l{blend['layer']}"] if "layer" in blend else []
    return "-".join([f"{prefix}_{name}", f"b{blend['beta']:g}", *layer])
