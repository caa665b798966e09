"""What the files of a model's directory hold, in one digest. Knows nothing of models.

Reading eight gigabytes takes a while, so a file's digest is remembered together with its size and
times, and the file is read again when one of these has changed.
"""

import hashlib
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from powerblend.infrastructure.files import write_text

SUFFIXES = {".safetensors", ".bin", ".json", ".jinja", ".model", ".txt", ".tiktoken"}
"""Of files that decide what a model says: weights, configuration, tokenizer, chat template."""

WEIGHTS = {".safetensors", ".bin"}
"""Of those with weights, which may be gigabytes."""


def content_of(directory: Path, remembered: Path) -> str:
    """SHA-256 of the names and contents of a directory's files.

    Parameters
    ----------
    directory
        Of a model or a draft.
    remembered
        JSON file of digests of files that were read before; it is brought up to date.
    """
    known = _read(remembered)
    found = {path: _state(path) for path in sorted(directory.glob("**/*")) if _decides(path)}
    digests = {}
    for path, state in found.items():
        kept = known.get(str(path.resolve()))
        digests[path] = kept[1] if kept and kept[0] == state else _sha256(path)
    new = {str(path.resolve()): [state, digests[path]] for path, state in found.items()}
    if any(known.get(path) != entry for path, entry in new.items()):
        # It spares work only; whoever may not write here reads the files each time.
        with suppress(OSError):
            write_text(remembered, json.dumps(known | new))
    named = [[str(path.relative_to(directory)), digests[path]] for path in found]
    return hashlib.sha256(json.dumps(named).encode()).hexdigest()


def content_without_weights(directory: Path) -> str:
    """SHA-256 of the names and contents of a directory's files, but for those of weights.

    All that a tokenizer and its chat template are read from, whatever their files are called.
    """
    files = [p for p in sorted(directory.glob("**/*")) if _decides(p) and p.suffix not in WEIGHTS]
    named = [[str(path.relative_to(directory)), _sha256(path)] for path in files]
    return hashlib.sha256(json.dumps(named).encode()).hexdigest()


def weights_of(directory: Path) -> str:
    """SHA-256 of the weights in a directory, one file after another."""
    found = hashlib.sha256()
    for part in sorted(directory.glob("*.safetensors")):
        found.update(part.read_bytes())
    return found.hexdigest()


def _decides(path: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.parts[-2:])
    return path.suffix in SUFFIXES and path.is_file() and not hidden


def _state(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read(remembered: Path) -> dict[str, list[Any]]:
    """State and digest by path; nothing where the file is missing or damaged."""
    try:
        known = json.loads(remembered.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}
