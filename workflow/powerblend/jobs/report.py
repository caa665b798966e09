"""Write the report as Markdown and as one HTML file."""

import argparse
from pathlib import Path

from powerblend.infrastructure.files import write_text
from powerblend.jobs import arguments
from powerblend.report import render, render_html
from powerblend.report.run import describe_run
from powerblend.vocabulary.published import PublishedNumbers
from powerblend.vocabulary.summary import Summary


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Name what to write up, with which figures, and where it goes."""
    arguments.add_paths(
        parser,
        config=arguments.CONFIGURATION,
        checked="what check wrote",
        summary="what tables wrote",
        published=arguments.PUBLISHED,
        output="Markdown to write",
        html="HTML to write",
    )
    parser.add_argument(
        "--figures", type=Path, nargs="+", required=True, metavar="PATH", help="PNG files"
    )
    parser.add_argument("--command", default="snakemake", help="how to reproduce the study")


def run(options: argparse.Namespace) -> None:
    """Write the report, as Markdown and as HTML."""
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
