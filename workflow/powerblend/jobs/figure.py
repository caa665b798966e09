"""Draw a figure as PNG and SVG."""

import argparse

import yaml

from powerblend.figures import material, save_figure
from powerblend.infrastructure.files import read_json
from powerblend.jobs import arguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Name the figure and what it is drawn from."""
    parser.add_argument("name", help="as accuracy")
    arguments.add_paths(
        parser,
        config=arguments.CONFIGURATION,
        summary="what tables wrote",
        published=arguments.PUBLISHED,
        output="PNG; the SVG goes beside it",
    )


def run(options: argparse.Namespace) -> None:
    """Draw it."""
    summary = read_json(options.summary)
    config = read_json(options.config)
    published = yaml.safe_load(options.published.read_text(encoding="utf-8"))
    save_figure(options.name, material(summary, config, published), options.output)
