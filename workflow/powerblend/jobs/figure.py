"""The figure job: one figure of a study, for the page and for print."""

import argparse
from pathlib import Path

from powerblend.figures import save_figure
from powerblend.vocabulary.published import PublishedNumbers
from powerblend.vocabulary.summary import Summary


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which figure, of what, and where it goes."""
    parser.add_argument("name", help="as accuracy")
    for name, text in {
        "config": "the study's configuration; not read, for its summary names model and dataset",
        "summary": "what tables wrote",
        "published": "numbers to compare with (resources/published.yaml)",
        "output": "PNG; the SVG goes beside it",
    }.items():
        parser.add_argument(f"--{name}", type=Path, required=True, metavar="PATH", help=text)


def run(options: argparse.Namespace) -> None:
    """Draw a figure as PNG and SVG."""
    summary = Summary.read(options.summary)
    published = PublishedNumbers.read_yaml(options.published)
    save_figure(options.name, summary, published, options.output)
