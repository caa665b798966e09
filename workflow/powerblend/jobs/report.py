"""The report job: a study, written up as Markdown and as one HTML file."""

import argparse
from pathlib import Path

from powerblend.infrastructure.files import write_text
from powerblend.report import render, render_html
from powerblend.report.run import describe_run
from powerblend.vocabulary.published import PublishedNumbers
from powerblend.vocabulary.summary import Summary


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to write up, with which figures, and where it goes."""
    for name, text in {
        "config": "the study's merged configuration, as JSON (results/STUDY/config-DIGEST.json)",
        "checked": "what check wrote",
        "summary": "what tables wrote",
        "published": "numbers to compare with (resources/published.yaml)",
        "output": "Markdown to write",
        "html": "HTML to write",
    }.items():
        parser.add_argument(f"--{name}", type=Path, required=True, metavar="PATH", help=text)
    parser.add_argument("--figures", type=Path, nargs="+", required=True, help="PNG files")
    parser.add_argument("--command", default="snakemake", help="how to reproduce the study")


def run(options: argparse.Namespace) -> None:
    """Write the report as Markdown and as one HTML file."""
    described = describe_run(options.config, options.checked, options.command)
    files = {f.relative_to(options.output.parent).as_posix(): f for f in options.figures}
    markdown = render(
        Summary.read(options.summary),
        described,
        {file.stem: path for path, file in files.items()},
        PublishedNumbers.read_yaml(options.published),
    )
    write_text(options.output, markdown)
    write_text(options.html, render_html(markdown, described.config.title, files))
