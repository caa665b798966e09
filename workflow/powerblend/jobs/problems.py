"""Read and check a dataset."""

import argparse

from powerblend.jobs import arguments
from powerblend.study.problems import load_problems, write_problems
from powerblend.vocabulary.specs import DatasetSpec


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Name the dataset and where its problems go."""
    arguments.add_spec(parser, "the configuration's dataset")
    arguments.add_paths(parser, output="problems, as JSON lines")


def run(options: argparse.Namespace) -> None:
    """Write the dataset's problems."""
    dataset = arguments.read_spec(options.spec, DatasetSpec)
    write_problems(options.output, load_problems(dataset))
