"""Fetch and convert an embedded model."""

import argparse

from powerblend.infrastructure.embedded import fetch
from powerblend.jobs import arguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Name the model and its directory."""
    parser.add_argument("name", help="as smollm2-135m-instruct")
    arguments.add_paths(parser, output="directory to write")


def run(options: argparse.Namespace) -> None:
    """Download, check and convert the model."""
    fetch(options.name, options.output)
