"""The command line: one subcommand for each thing that a rule of the workflow does.

Any of them can be run by hand. Errors end in one sentence and exit status 1.
"""

import argparse
import json
import logging
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from powerblend.infrastructure.files import read_json, write_text
from powerblend.infrastructure.interrupts import Terminated, heed_sigterm

if TYPE_CHECKING:
    # Imported where they are used: a figure does not need torch, nor a seconds-long import of it.
    from powerblend.blends import Blend
    from powerblend.engine.model import Model
    from powerblend.study.layout import Layout
    from powerblend.study.schema import Study

log = logging.getLogger("powerblend")

EXPECTED = (ValueError, OSError, RuntimeError)
"""Errors whose message is written for the user."""


def main(arguments: list[str] | None = None) -> int:
    """Run a subcommand; the exit status."""
    options = _parser().parse_args(arguments)
    handlers: list[logging.Handler] = [logging.StreamHandler()]
    if options.log:
        options.log.parent.mkdir(parents=True, exist_ok=True)
        handlers.append(logging.FileHandler(options.log))
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", handlers=handlers
    )
    # On a full disk the log cannot be written either, and the message that says so must be seen.
    logging.raiseExceptions = False
    heed_sigterm()
    run: Callable[[argparse.Namespace], None] = options.run
    try:
        run(options)
    except EXPECTED as error:
        log.error("error: %s", _message(error))
        log.debug("", exc_info=error)
        return 1
    except Terminated:
        log.error("terminated; what was finished is kept, run the same command again to go on")
        return 143
    except KeyboardInterrupt:
        log.error("interrupted; what was finished is kept, run the same command again to go on")
        return 130
    return 0


def _message(error: Exception) -> str:
    from pydantic import ValidationError

    from powerblend.infrastructure.sentences import sentences

    return "\n".join(sentences(error)) if isinstance(error, ValidationError) else str(error)


def model(options: argparse.Namespace) -> None:
    """Fetch and convert an embedded model."""
    from powerblend.infrastructure.embedded import fetch

    fetch(options.name, options.output)


def problems(options: argparse.Namespace) -> None:
    """Read and check a dataset."""
    from powerblend.study.problems import load_problems, write_problems
    from powerblend.study.schema import DatasetSpec

    dataset = DatasetSpec.model_validate(_given(options, "dataset"))
    write_problems(options.output, load_problems(dataset))


def check(options: argparse.Namespace) -> None:
    """Check conditions and prompts against the model."""
    from powerblend.jobs.check import check_shards, check_study
    from powerblend.study.problems import read_problems

    study = _study(options.config)
    shards = {path: read_problems(path) for path in options.shards}
    check_shards(study, read_problems(options.problems), shards)
    chosen = [problem for shard in shards.values() for problem in shard]
    study.grading.check()
    facts = check_study(study, _layout(options).model, chosen)
    write_text(options.output, json.dumps(facts, indent=2) + "\n")


def probe(options: argparse.Namespace) -> None:
    """Measure what each layer knows and what blending it would change."""
    _on_device(options, lambda: _probe(options, matching=False))


def match(options: argparse.Namespace) -> None:
    """Find the beta at which a blend has a given KL."""
    _on_device(options, lambda: _probe(options, matching=True))


def _probe(options: argparse.Namespace, matching: bool) -> None:
    from powerblend.infrastructure.files import read_jsonl
    from powerblend.probe import run
    from powerblend.probe.passages import text_of
    from powerblend.study.problems import read_problems

    measured = ("blend", "match_kl") if matching else ("layers", "betas", "blends")
    spec = _spec(options, "over", "prompt", "problems", "tokens", *measured)
    records = [record for path in options.records for record in read_jsonl(path)]
    loaded = _load(options, spec, run.blends_of(spec))
    text = text_of(spec, loaded.tokenizer, read_problems(options.problems), records)
    found = (run.match if matching else run.probe)(spec, loaded, text)
    write_text(options.output, json.dumps(found, indent=2) + "\n")


def _load(options: argparse.Namespace, spec: Any, blends: "list[Blend]") -> "Model":
    from powerblend.jobs.models import load

    where: Any = {"path": options.model, "draft": options.draft, "device": options.device}
    return load(spec["model"], blends, **where)


def train_draft(options: argparse.Namespace) -> None:
    """Train a draft on what the model itself writes."""
    _on_device(options, lambda: _train_draft(options))


def _train_draft(options: argparse.Namespace) -> None:
    from powerblend.jobs.train_draft import train_draft as train_draft_job
    from powerblend.study.problems import load_problems
    from powerblend.study.schema import DatasetSpec

    spec = _spec(options, "engine", "training", "dataset", "prompt", "seed")
    train_draft_job(
        spec,
        _load(options, spec, []),
        load_problems(DatasetSpec.model_validate(spec["dataset"])),
        rows=options.rows,
        store=options.store,
        output=options.output,
    )


def generate(options: argparse.Namespace) -> None:
    """Generate answers for a shard."""
    _on_device(options, lambda: _generate(options))


def _on_device(options: argparse.Namespace, run: Callable[[], None]) -> None:
    """Run a job of the model with its threads, and on a GPU of its own if it is to have one."""
    from powerblend.infrastructure.devices import leased_gpu, placement

    with leased_gpu() if options.device == "cuda" else nullcontext():
        log.info("runs on %s", placement(options.device))
        import torch
        import transformers

        # Its bar for reading weights would hide the one that matters.
        transformers.utils.logging.disable_progress_bar()
        torch.set_num_threads(options.threads)
        run()


def _generate(options: argparse.Namespace) -> None:
    from powerblend.jobs.generate import generate, with_beta
    from powerblend.samplers import parse_sampler
    from powerblend.study.problems import read_problems
    from powerblend.study.store import ChainStore

    spec = _spec(options, "engine", "decoding", "prompt", "seed")
    if options.beta is not None:
        spec = with_beta(spec, json.loads(options.beta.read_text(encoding="utf-8"))["beta"])
    blend = parse_sampler(spec["decoding"]).blend
    chains = ChainStore(options.store)
    try:
        generate(
            spec,
            _load(options, spec, [blend] if blend else []),
            read_problems(options.problems),
            labels={"study": options.study, "condition": options.condition},
            samples=options.samples,
            rows=options.rows,
            store=chains,
            output=options.output,
        )
    finally:
        chains.close()


def grade(options: argparse.Namespace) -> None:
    """Grade a shard's answers."""
    from powerblend.graders import parse_grader
    from powerblend.jobs.grade import grade_records

    grader = parse_grader(_given(options, "grading"))
    grade_records(options.records, options.problems, options.output, grader, options.workers)


def tables(options: argparse.Namespace) -> None:
    """Compute every number of the report."""
    from powerblend.jobs import tables as job

    job.run(options)


def figure(options: argparse.Namespace) -> None:
    """Draw a figure as PNG and SVG."""
    from powerblend.jobs import figure as job

    job.run(options)


def report(options: argparse.Namespace) -> None:
    """Write the report as Markdown and as one HTML file."""
    from powerblend.jobs import report as job

    job.run(options)


def schema(options: argparse.Namespace) -> None:
    """Print the JSON schema of a study's configuration."""
    from powerblend.study.schema import study_schema

    print(json.dumps(study_schema(), indent=2))


def _spec(options: argparse.Namespace, *keys: str) -> Any:
    """A job's spec, if it has these keys and names a model."""
    spec = _given(options, "spec")
    missing = [key for key in ("model", *keys) if key not in spec]
    if missing:
        raise ValueError(
            f"--spec lacks {', '.join(missing)}; snakemake -n -p shows the command of every job"
        )
    return spec


def _given(options: argparse.Namespace, name: str) -> Any:
    """The mapping that an option holds as JSON."""
    try:
        value = json.loads(getattr(options, name))
    except json.JSONDecodeError as error:
        raise ValueError(f"--{name} is not JSON ({error})") from None
    if not isinstance(value, dict):
        raise ValueError(f"--{name} is {value!r}; give a mapping, as JSON")
    return value


def _study(config: Path) -> "Study":
    from powerblend.study.schema import parse_study

    return parse_study(read_json(config))


def _layout(options: argparse.Namespace) -> "Layout":
    """The study's paths, beside its configuration ROOT/results/STUDY/config.json."""
    from powerblend.study.layout import Layout

    return Layout(_study(options.config), options.config.absolute().parents[2])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m powerblend",
        description="Power sampling and guided decoding: the steps of a study, one by one.",
        epilog="A whole study is run by Snakemake, which calls these: see README.md.",
    )
    parser.add_argument("--log", type=Path, help="also write the log to this file")
    subparsers = parser.add_subparsers(required=True, metavar="SUBCOMMAND")

    def add(run: Callable[[argparse.Namespace], None], epilog: str = "") -> Any:
        title = (run.__doc__ or "").rstrip(".")
        sub = subparsers.add_parser(
            run.__name__.replace("_", "-"),
            help=title[0].lower() + title[1:],
            description=title + ".",
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        sub.set_defaults(run=run)
        return sub

    def paths(sub: Any, **helps: str) -> None:
        for name, text in helps.items():
            sub.add_argument(f"--{name}", type=Path, required=True, metavar="PATH", help=text)

    configuration = "the study's merged configuration, as JSON (results/STUDY/config-DIGEST.json)"
    sub = add(model)
    sub.add_argument("name", help="as smollm2-135m-instruct")
    paths(sub, output="directory to write")

    sub = add(problems)
    sub.add_argument("--dataset", required=True, help="the configuration's dataset, as JSON")
    paths(sub, output="problems, as JSON lines")

    sub = add(check)
    sub.add_argument("--shards", type=Path, nargs="+", required=True, help="those that are used")
    paths(
        sub,
        config=configuration,
        problems="the whole dataset, as JSON lines (results/STUDY/problems/)",
        output="what was learned, as JSON",
    )

    def rows(sub: Any) -> None:
        sub.add_argument(
            "--rows",
            type=lambda text: None if text == "auto" else int(text),
            help="chains at once, or auto: as many as the free memory holds (default)",
        )

    def device(sub: Any) -> None:
        sub.add_argument("--model", metavar="PATH", help="directory of a fetched model")
        sub.add_argument(
            "--draft", type=Path, nargs="?", metavar="PATH", help="directory of a trained draft"
        )
        sub.add_argument("--threads", type=int, default=1, help="CPU threads (default 1)")
        sub.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="(default cpu)")

    def reading(sub: Any, spec: str) -> None:
        sub.add_argument("--spec", required=True, help=spec)
        sub.add_argument(
            "--records",
            type=Path,
            nargs="*",
            default=[],
            metavar="PATH",
            help="what generate wrote for a greedy condition, where its answers are read",
        )
        paths(sub, problems="problems, as JSON lines", output="what was found, as JSON")
        device(sub)

    sub = add(
        probe,
        epilog="A text (solutions, or the model's own greedy answers) is read once, token by token."
        "\nFor every decoder block, as it is (norm none) and after the final norm (norm final), and"
        "\nfor blends of chosen sources at chosen betas:\n\n"
        "  rank         of the text's token under lm_head of that state, from 1; log_loss in nats\n"
        "  better       share of tokens that it ranks strictly better than the final layer does\n"
        "  likelier     share of tokens to which it gives more probability\n"
        "  hard_...     the same on hard tokens, those that the model gives less than 1%\n"
        "  kl, flips    KL(p || law) per token in nats; how often the most likely token changes\n"
        "  scale        standard deviation of the logits, relative to the model's\n\n"
        "A layer that is worse than the last one everywhere has nothing to add; one that is better "
        "on\nhard tokens may. To see the spec of a study's probe: snakemake -n -p --until probe.",
    )
    reading(sub, "what to read and to measure, as canonical JSON")

    sub = add(
        match,
        epilog="The beta of a condition whose blend says `beta: {match_kl: 0.01}`, so that blends\n"
        "of different sources are compared at equal perturbation: equal mean KL(p || p_guided).",
    )
    reading(sub, "what to read, the blend without its beta, and the KL, as canonical JSON")

    sub = add(
        train_draft,
        epilog="For a model that has no published DFlash draft. The model answers the training\n"
        "problems at T = 1; the draft learns to say blocks of these answers from the model's own\n"
        "hidden states. Run the same command again after an interruption: it continues.",
    )
    sub.add_argument("--spec", required=True, help="the training, as canonical JSON")
    paths(
        sub,
        store="directory of what an interrupted run continues from",
        output="directory to write: config.json, model.safetensors, training.json",
    )
    device(sub)
    rows(sub)

    sub = add(
        generate,
        epilog="A finished chain is stored at once. Run the same command again after an "
        "interruption:\nit continues from the store. To see the spec of a study's cells: "
        "snakemake -n -p --until generate.",
    )
    sub.add_argument("--spec", required=True, help="the cell, as canonical JSON")
    paths(
        sub,
        problems="a shard, as JSON lines",
        store="chain store to continue",
        output="records to write, sorted and complete",
    )
    sub.add_argument(
        "--beta", type=Path, nargs="?", metavar="PATH", help="what match wrote, for a matched beta"
    )
    device(sub)
    sub.add_argument("--study", default="", help="label of the records")
    sub.add_argument("--condition", default="", help="label of the records")
    sub.add_argument("--samples", type=int, default=1, help="answers per problem (default 1)")
    rows(sub)

    sub = add(grade)
    paths(sub, records="what generate wrote", problems="the shard", output="grades, JSON lines")
    sub.add_argument("--grading", required=True, help="the configuration's grading, as JSON")
    sub.add_argument("--workers", type=int, default=1, help="grading processes (default 1)")

    sub = add(tables)
    paths(sub, config=configuration, output="overall table, CSV", summary="every number, JSON")

    others = "numbers to compare with (resources/published.yaml)"
    sub = add(figure)
    sub.add_argument("name", help="as accuracy")
    paths(
        sub,
        config=configuration,
        summary="what tables wrote",
        published=others,
        output="PNG; the SVG goes beside it",
    )

    sub = add(report)
    paths(
        sub,
        config=configuration,
        checked="what check wrote",
        summary="what tables wrote",
        published=others,
        output="Markdown to write",
        html="HTML to write",
    )
    sub.add_argument("--figures", type=Path, nargs="+", required=True, help="PNG files")
    sub.add_argument("--command", default="snakemake", help="how to reproduce the study")

    add(schema)
    return parser
