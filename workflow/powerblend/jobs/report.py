"""Write the report as Markdown and as one HTML file."""

import argparse
from pathlib import Path

import yaml

from powerblend.infrastructure.files import read_json, write_text
from powerblend.jobs import arguments
from powerblend.report import render, render_html
from powerblend.report.run import describe_run


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Name all that the report is made of."""
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
    """Write both."""
    summary = read_json(options.summary)
    run = describe_run(options.config, options.checked) | {"command": options.command}
    files = {f.relative_to(options.output.parent).as_posix(): f for f in options.figures}
    figures = {file.stem: path for path, file in files.items()}
    markdown = render(
        summary, run, figures, yaml.safe_load(options.published.read_text(encoding="utf-8"))
    )
    write_text(options.output, markdown)
    write_text(options.html, render_html(markdown, run["config"]["title"], files))
