"""Draw the figures as PNG and SVG."""

import argparse

from powerblend.figures import FIGURES, save_figures
from powerblend.jobs import arguments
from powerblend.vocabulary.published import PublishedNumbers
from powerblend.vocabulary.summary import Summary


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Name the figures, what they are drawn from, and where they go."""
    parser.add_argument("names", nargs="*", metavar="NAME", help="as accuracy (default: every one)")
    arguments.add_paths(
        parser,
        summary="what tables wrote",
        published=arguments.PUBLISHED,
        output="directory to write NAME.png and NAME.svg to",
    )


def run(options: argparse.Namespace) -> None:
    """Draw the figures."""
    summary = Summary.read(options.summary)
    published = PublishedNumbers.read_yaml(options.published)
    save_figures(options.names or FIGURES, summary, published, options.output)
