"""Specs of jobs, complete but for what a test is about."""

import json
from pathlib import Path
from typing import Any

from powerblend.engine import REVISION
from powerblend.study.cells import PROBE_REVISION
from powerblend.vocabulary.specs import CellSpec, MatchSpec, MeasurementSpec, ReadingSpec

MODEL = {"name": "model", "revision": None, "dtype": "float64"}
PROMPT: dict[str, Any] = {"system": None, "template": "{problem}", "shots": [], "chat_template": {}}
COMMON = {"model": MODEL, "dataset": {"name": "data.jsonl"}, "prompt": PROMPT}


def cell(decoding: dict[str, Any], **changes: Any) -> CellSpec:
    """A cell that decodes in some way."""
    rest = {"engine": REVISION, "seed": 0, **COMMON}
    return CellSpec.model_validate({**rest, "decoding": decoding, **changes})


def reading(text: str = "solutions", problems: int = 3, tokens: int = 20) -> ReadingSpec:
    """What a probe reads."""
    sizes = {"problems": problems, "tokens": tokens}
    what = {"probe": PROBE_REVISION, "over": {"text": text}, **sizes, **COMMON}
    return ReadingSpec.model_validate(what)


def measurement(**changes: Any) -> MeasurementSpec:
    """What a probe measures."""
    rest: dict[str, Any] = {"layers": [], "betas": [], "blends": []}
    return MeasurementSpec.model_validate({**dict(reading()), **rest, **changes})


def match(blend: dict[str, Any], match_kl: Any, match_scale: Any = None) -> MatchSpec:
    """A blend whose beta is to be found."""
    wanted = {"match_kl": match_kl, "match_scale": match_scale}
    return MatchSpec.model_validate({**dict(reading()), **wanted, "blend": blend})


def written(spec: Any, path: Path) -> str:
    """The path of a file that holds a spec."""
    content = spec if isinstance(spec, str) else spec.canonical
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
    assert json.loads(content) is not None
    return str(path)
