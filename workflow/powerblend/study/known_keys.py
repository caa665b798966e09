"""The keys of a shard's answers, written down beside its store once all of them are in there.

A key is made of the prompt's tokens. Whoever finds the keys here needs neither tokenizer nor model,
which take seconds to load, to write the records of answers that are all there. The keys hold for
just what they were made of, as `basis` has it, and for nothing else.
"""

import datetime
import hashlib
import json
import re
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from powerblend.api import prompts as api_prompts
from powerblend.blends import DraftBlend
from powerblend.infrastructure.contents import content_without_weights, weights_of
from powerblend.infrastructure.files import write_text
from powerblend.study import prompts as study_prompts
from powerblend.study.cells import local_content
from powerblend.vocabulary.problem import Problem
from powerblend.vocabulary.specs import CellSpec, KnownModel, canonical

TOKENISERS = ("transformers", "tokenizers", "jinja2")
"""Packages whose other versions may make other tokens of a prompt."""

CODE = (study_prompts.__file__, api_prompts.__file__, Path(__file__).with_name("answers.py"))
"""Files of this package whose other versions may, or may make other keys of them."""


def loaded_files(spec: CellSpec, model: str | None, draft: Path | None) -> str | None:
    """What files and code make tokens of a prompt, and the draft's fingerprint.

    The day is part of it, for a chat template may name it.

    Parameters
    ----------
    spec
        Of one of the cells that share them.
    model, draft
        Directories of the model and of the trained draft, where the workflow has made them.

    Returns
    -------
    None where it cannot be known: what a hub repository holds, unless the spec names a commit.
    """
    tokenizer = _tokenizer(spec.model, model)
    weights = _draft_weights(spec, draft)
    if tokenizer is None or weights is None:
        return None
    packages = [version(name) for name in TOKENISERS]
    code = [hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in CODE]
    return canonical([tokenizer, weights, packages, code, datetime.date.today().isoformat()])


def basis(spec: CellSpec, samples: int, files: str) -> str:
    """All that decides a cell's keys, but for the problems: its spec, whose beta is known, too."""
    return canonical([spec.model_dump(mode="json"), samples, files])


def known_keys(store: Path, basis: str, problems: Sequence[Problem]) -> list[str] | None:
    """The keys of a shard's answers, by problem and sample; None unless all were in its store."""
    try:
        known = json.loads(_beside(store).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(known, dict) or known.get("basis") != _digest(basis, problems):
        return None
    keys: list[str] = known["keys"]
    return keys


def know_keys(store: Path, basis: str, problems: Sequence[Problem], keys: Sequence[str]) -> None:
    """Write down the keys of answers that are all in the store, whose lock the caller has."""
    known = {"basis": _digest(basis, problems), "keys": [*keys]}
    write_text(_beside(store), json.dumps(known) + "\n")


def _beside(store: Path) -> Path:
    return store.with_suffix(".keys.json")


def _digest(basis: str, problems: Sequence[Problem]) -> str:
    asked = [[problem.unique_id, problem.problem] for problem in problems]
    return hashlib.sha256(canonical([basis, asked]).encode()).hexdigest()


def _tokenizer(model: KnownModel, path: str | None) -> str | None:
    """What tokenizer and chat template are read from, unless it may change unseen."""
    if model.content is not None and local_content(model.name) != model.content:
        return None
    directory = Path(path or model.name)
    if directory.is_dir():
        return content_without_weights(directory)
    return model.revision if re.fullmatch("[0-9a-f]{40}", model.revision or "") else None


def _draft_weights(spec: CellSpec, path: Path | None) -> str | None:
    """The fingerprint of the draft that is loaded; empty without one, None if it is the hub's."""
    blend = spec.decoding.blend
    if not isinstance(blend, DraftBlend):
        return ""
    directory = path or Path(str(blend.draft))
    return weights_of(directory) if directory.is_dir() else None
