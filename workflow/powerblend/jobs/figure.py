"""Draw a figure as PNG and SVG."""

import argparse

from powerblend.figures import save_figure
from powerblend.jobs import arguments
from powerblend.vocabulary.published import PublishedNumbers
from powerblend.vocabulary.summary import Summary


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Name the figure and what it is drawn from."""
    parser.add_argument("name", help="as accuracy")
    arguments.add_paths(
        parser,
        summary="what tables wrote",
        published=arguments.PUBLISHED,
        output="PNG; the SVG goes beside it",
    )


def run(options: argparse.Namespace) -> None:
    """Draw the figure."""
    summary = Summary.read(options.summary)
    published = PublishedNumbers.read_yaml(options.published)
    save_figure(options.name, summary, published, options.output)
