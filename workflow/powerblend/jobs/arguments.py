"""Arguments that several jobs take, and the spec that an argument names."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, JsonValue, ValidationError

from powerblend.graders import Grader, parse_grader
from powerblend.infrastructure.files import REMADE, DamagedFile, read_json
from powerblend.infrastructure.sentences import sentences
from powerblend.study.layout import Layout
from powerblend.study.schema import Study, parse_study

Spec = TypeVar("Spec", bound=BaseModel)
Read = TypeVar("Read")

CONFIGURATION = "the study's merged configuration, as JSON (results/STUDY/config-DIGEST.json)"
PUBLISHED = "numbers to compare with (resources/published.yaml)"


def add_paths(parser: argparse.ArgumentParser, **helps: str) -> None:
    """Required arguments that are paths, by name."""
    for name, text in helps.items():
        parser.add_argument(f"--{name}", type=Path, required=True, metavar="PATH", help=text)


def add_spec(parser: argparse.ArgumentParser, what: str) -> None:
    """The spec of a job."""
    text = f"{what}, as JSON (results/STUDY/specs/)"
    parser.add_argument("--spec", type=Path, required=True, metavar="PATH", help=text)


def add_rows(parser: argparse.ArgumentParser) -> None:
    """The size of the batch, and whether a row may advance by several tokens a step."""
    parser.add_argument(
        "--speculate",
        choices=["auto", "off"],
        default="auto",
        help="guess next tokens from what was written before, where that is likely to save time; "
        "it changes no answer (default auto)",
    )
    parser.add_argument(
        "--rows",
        type=lambda text: None if text == "auto" else int(text),
        help="chains at once, or auto: as many as the free memory holds (default)",
    )


def add_device(parser: argparse.ArgumentParser) -> None:
    """What a job of the model computes on, and the directories of what it loads."""
    parser.add_argument("--model", metavar="PATH", help="directory of a fetched model")
    parser.add_argument(
        "--draft", type=Path, nargs="?", metavar="PATH", help="directory of a trained draft"
    )
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default 1)")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="(default cpu)")


def add_reading(parser: argparse.ArgumentParser, what: str) -> None:
    """What a probe reads, and where it writes what it found."""
    add_spec(parser, what)
    parser.add_argument(
        "--records",
        type=Path,
        nargs="*",
        default=[],
        metavar="PATH",
        help="what generate wrote for a greedy condition, where its answers are read",
    )
    add_paths(parser, problems="problems, as JSON lines", output="what was found, as JSON")
    add_device(parser)


def read_spec(path: Path, kind: type[Spec]) -> Spec:
    """What a job is to do.

    Raises
    ------
    DamagedFile
        If the file does not hold such a spec.
    """
    return _read(path, kind.model_validate)


def read_grader(path: Path) -> Grader:
    """How answers are to be graded; raises as `read_spec` does."""
    return _read(path, parse_grader)


def _read(path: Path, parse: Callable[[dict[str, JsonValue]], Read]) -> Read:
    content = read_json(path)
    if not isinstance(content, dict):
        raise DamagedFile(f"{path}: it holds {content!r:.60}, not a mapping; {REMADE}")
    try:
        return parse(content)
    except ValidationError as error:
        raise DamagedFile(f"{path}: {next(sentences(error))}; {REMADE}") from None


def read_study(config: Path) -> tuple[Study, Layout]:
    """The study of a configuration ROOT/results/STUDY/config-DIGEST.json, and its paths."""
    study = parse_study(read_json(config))
    return study, Layout(study, config.absolute().parents[2])
