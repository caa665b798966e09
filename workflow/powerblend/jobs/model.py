"""Fetch and convert an embedded model."""

import argparse
import logging

import transformers

from powerblend.infrastructure.embedded import fetch
from powerblend.jobs import arguments

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Name the model and its directory."""
    parser.add_argument("name", help="as smollm2-135m-instruct")
    arguments.add_paths(parser, output="directory to write")


def run(options: argparse.Namespace) -> None:
    """Download, check and convert the model."""
    transformers.utils.logging.disable_progress_bar()
    log.info("downloads and converts %s: a minute or so", options.name)
    fetch(options.name, options.output)
