"""The command line: a question to a model, and one subcommand for each job of a study.

Any of them can be run by hand. Errors end in one sentence and exit status 1.
"""

import argparse
import logging
import os
import sys
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType

from powerblend.infrastructure.imports import uncollected
from powerblend.infrastructure.interrupts import Terminated, heed_sigterm
from powerblend.infrastructure.progress import clock

log = logging.getLogger("powerblend")

TORCH_SETTINGS = {"THP_MEM_ALLOC_ENABLE": "1", "OMP_WAIT_POLICY": "PASSIVE"}
"""Read where torch is imported, unless the user has set them. Linux gives it large pages of memory:
to look for small ones takes a twelfth of a job's time. And a thread that waits for others leaves
them the processor: where there are more threads than processors to be had, all take far longer
otherwise."""

JOBS = {
    "sample": "ask a model a question, and see its answers",
    "serve": "answer requests of the OpenAI API",
    "plan": "say what a study will take, before anything of it runs",
    "config": "write down the configuration that runs",
    "specs": "write down what every job of the model is to do",
    "model": "fetch and convert an embedded model",
    "problems": "read and check a dataset",
    "check": "check conditions and prompts against the model",
    "probe": "measure what each layer knows and what blending it would change",
    "match": "find the beta at which a blend has a given KL",
    "train-draft": "train a draft on what the model itself writes",
    "generate": "generate answers for a shard",
    "grade": "grade a shard's answers against the reference answers",
    "tables": "compute every number of the report",
    "figures": "draw the figures as PNG and SVG",
    "report": "write the report as Markdown and as one HTML file",
    "answers": "write the page on which to look at answers",
    "export": "write answers and grades as a dataset for others",
    "schema": "print the JSON schema of a study's configuration",
}
"""The jobs, each a module of `powerblend.jobs`, and what they do."""

EXAMPLE = """
to begin with:
  powerblend sample MODEL "What is 12 + 30?" --alpha 4 --samples 4
  powerblend serve MODEL --port 8000
  powerblend sample --help

MODEL is a directory or a Hugging Face hub id. plan is for who runs a study, export for who has; the
rest are its jobs, which Snakemake calls one by one; they need the study's packages:
pip install 'powerblend[study]'
"""

EXTRAS = {"serve": "serve"}
"""What brings a job's packages; the others' is study."""

EXPECTED = (ValueError, OSError, RuntimeError)
"""Errors whose message is written for the user."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a job; the exit status."""
    chosen = _chosen(arguments)
    try:
        options = _parser(chosen).parse_args(arguments)
    except ModuleNotFoundError as error:
        extra = EXTRAS.get(chosen or "", "study")
        needed = f"this needs {_missing(error)}: pip install 'powerblend[{extra}]'"
        print(f"powerblend: {needed}", file=sys.stderr)
        return 1
    try:
        _start_log(options.log)
    except OSError as error:
        print(f"error: --log {options.log}: cannot be written ({error.strerror})", file=sys.stderr)
        return 1
    heed_sigterm()
    started = time.monotonic()
    run: Callable[[argparse.Namespace], None] = options.run
    try:
        run(options)
    except EXPECTED as error:
        log.error("error: %s", _message(error))
        log.debug("", exc_info=error)
        return 1
    except Terminated:
        log.error("terminated%s", _kept(chosen))
        return 143
    except KeyboardInterrupt:
        log.error("interrupted%s", _kept(chosen))
        return 130
    log.info("done in %s", clock(time.monotonic() - started))
    return 0


def _kept(job: str | None) -> str:
    """What is left of a job that was ended; a question and a server leave nothing."""
    if job in ("sample", "serve"):
        return ""
    return "; what was finished is kept, run the same command again to go on"


def _missing(error: BaseException) -> str:
    """The package that an import lacked; transformers' own errors name it in their cause alone."""
    name: str | None = getattr(error, "name", None)
    if name is None and error.__cause__ is not None:
        return _missing(error.__cause__)
    return name or str(error)


def _chosen(arguments: Sequence[str] | None) -> str | None:
    """The job that the arguments name: its module alone is imported, for some take seconds."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--log")
    parser.add_argument("job", nargs="?")
    job: str | None = parser.parse_known_args(arguments)[0].job
    return job


def _imported(job: str) -> ModuleType:
    """The module of a job, and all that it imports."""
    for variable, value in TORCH_SETTINGS.items():
        os.environ.setdefault(variable, value)
    with uncollected():
        return import_module(f"powerblend.jobs.{job.replace('-', '_')}")


def _parser(chosen: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="powerblend",
        description="Power sampling and guided decoding, exactly and fast.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--log",
        type=Path,
        help="write the log to this file; the terminal then shows no more than warnings",
    )
    jobs = parser.add_subparsers(required=True, metavar="JOB")
    for name, title in JOBS.items():
        if name != chosen:
            jobs.add_parser(name, help=title)
            continue
        module = _imported(name)
        job = jobs.add_parser(
            name,
            help=title,
            description=module.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(job)
        job.set_defaults(run=module.run)
    return parser


def _start_log(path: Path | None) -> None:
    """Log to the terminal or, but for what is wrong, to a file."""
    handlers: list[logging.Handler] = [logging.StreamHandler()]
    if path:
        # Many jobs may share the terminal; how far they are is shown there once for all.
        handlers[0].setLevel(logging.WARNING)
        path.parent.mkdir(parents=True, exist_ok=True)
        handlers.append(logging.FileHandler(path))
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", handlers=handlers
    )
    # On a full disk the log cannot be written either, and the message that says so must be seen.
    logging.raiseExceptions = False


def _message(error: Exception) -> str:
    from pydantic import ValidationError

    from powerblend.infrastructure.sentences import sentences

    return "\n".join(sentences(error)) if isinstance(error, ValidationError) else str(error)
