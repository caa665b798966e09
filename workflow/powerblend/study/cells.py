"""Cells: one fully resolved way of generating, with a name that is also its identity.

A cell's spec holds everything that decides what is generated and nothing else: only the keys that
its condition reads, not the number of samples, the shards, the batch or the device. Its canonical
JSON is a generate job's parameter and the digest of that is in the path, so a changed setting is a
missing file, an old one is still there, and equal settings are one cell, whatever they are called.
"""

import hashlib
import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from powerblend.blends import Blend, DraftBlend
from powerblend.blends.draft import TRAINED
from powerblend.engine import REVISION
from powerblend.samplers import Sampler
from powerblend.study.prompts import read_shots
from powerblend.study.schema import Match, Study

PROBE_REVISION = "1"
"""Changes when the probe's code comes to measure something else, or of other tokens."""


TRAINER_REVISION = "1"
"""Changes when the same training comes to give another draft."""


class Cell(NamedTuple):
    """A job's work: a readable name ending in the digest of its spec, and the spec."""

    name: str
    spec: str


def cells_of(study: Study) -> dict[str, Cell]:
    """The cell of each of the study's conditions, in their order."""
    matched = {name: _match(study, match) for name, match in study.matches().items()}
    return {
        name: _cell(study, sampler, matched.get(name)) for name, sampler in study.samplers().items()
    }


def probe_of(study: Study) -> Cell | None:
    """The probe, as a name and the spec of all that decides what it measures; None if disabled."""
    if not study.probe.enabled:
        return None
    betas = study.matches().keys()
    blends = [
        sampler.blend.model_dump(exclude_none=True)
        for name, sampler in study.samplers().items()
        if sampler.blend is not None and name not in betas
    ]
    unlike = {canonical(blend): blend for blend in blends}
    spec = canonical(
        {
            **_text(study),
            "layers": sorted(set(study.probe.layers)),
            "betas": sorted(set(study.probe.betas)),
            "blends": [unlike[text] for text in sorted(unlike)],
            **_trained(study, study.drafts()),
        }
    )
    return Cell(f"probe-{digest(spec)}", spec)


def betas_of(study: Study) -> dict[str, Cell]:
    """What finds the beta of each condition that is to match a KL."""
    specs = {name: canonical(_match(study, match)) for name, match in study.matches().items()}
    return {name: Cell(f"beta-{digest(spec)}", spec) for name, spec in specs.items()}


def training_of(study: Study) -> Cell | None:
    """The training of a draft, if a condition in use needs it."""
    if not any(blend.draft == TRAINED for blend in study.drafts()):
        return None
    spec = canonical(_training(study))
    return Cell(f"draft-{digest(spec)}", spec)


def _training(study: Study) -> dict[str, Any]:
    """What decides a trained draft."""
    assert study.training is not None
    return {
        "engine": REVISION,
        "trainer": TRAINER_REVISION,
        "model": study.model.model_dump(),
        "dataset": {"name": study.training.problems},
        "prompt": _prompt(study),
        "seed": study.seed,
        "training": study.training.model_dump(),
    }


def _match(study: Study, match: Match) -> dict[str, Any]:
    sources = (match.source, match.target)
    trained = any(isinstance(s, dict) and s.get("draft") == TRAINED for s in sources)
    extra = {"training": _training(study)} if trained else {}
    return {**_text(study), "blend": match.source, "match_kl": match.target, **extra}


def _trained(study: Study, blends: Sequence[Blend | None]) -> dict[str, Any]:
    """The training of the draft that one of the blends mixes in, if it is a trained one."""
    if any(isinstance(blend, DraftBlend) and blend.draft == TRAINED for blend in blends):
        return {"training": _training(study)}
    return {}


def _text(study: Study) -> dict[str, Any]:
    """What decides which tokens the probe looks at, and what it sees there."""
    probe = study.probe
    over: dict[str, Any] = {"text": probe.over}
    name = study.probed_condition()
    if probe.over == "greedy" and name is not None:
        shards = {"of": study.shards.of, "use": study.shards.indices}
        spec = _cell(study, study.samplers()[name], None).spec
        over = {"text": "greedy", "shards": shards, "cell": json.loads(spec)}
    return {
        "probe": PROBE_REVISION,
        "model": study.model.model_dump(),
        "dataset": study.dataset.model_dump(),
        "prompt": _prompt(study),
        "over": over,
        "problems": probe.problems,
        "tokens": probe.tokens,
    }


def _prompt(study: Study) -> dict[str, Any]:
    return study.prompt.model_dump() | {"shots": read_shots(study.prompt)}


def canonical(value: Any) -> str:
    """JSON that is equal exactly when the values are."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def digest(text: str) -> str:
    """Ten hexadecimal digits that name a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def _cell(study: Study, sampler: Sampler, matched: dict[str, Any] | None) -> Cell:
    """``matched`` decides the beta where the configuration gives none."""
    decoding = sampler.model_dump(exclude_none=True)
    if matched is not None:
        decoding["blend"]["beta"] = matched
    spec = canonical(
        {
            "engine": REVISION,
            "model": study.model.model_dump(),
            "dataset": study.dataset.model_dump(),
            "prompt": _prompt(study),
            "seed": study.seed,
            "decoding": decoding,
            **_trained(study, [sampler.blend]),
        }
    )
    return Cell(f"{_slug(sampler, decoding)}-{digest(spec)}", spec)


def _slug(sampler: Sampler, decoding: dict[str, Any]) -> str:
    """What a reader wants to know first: ``blend_ps-b0.05-l27``."""
    name = sampler.short_name or sampler.name
    blend = decoding.get("blend")
    if blend is None:
        return name
    prefix = "blend" if blend["source"] == "layer" else f"{blend['source']}_blend"
    layer = [f"l{blend['layer']}"] if "layer" in blend else []
    beta = blend["beta"]
    weight = "matched" if isinstance(beta, dict) else f"b{beta:g}"
    return "-".join([f"{prefix}_{name}", weight, *layer])
