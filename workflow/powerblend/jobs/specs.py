"""Write down what every job of a study is to do.

A file per job under results/STUDY/specs/, in canonical JSON; the digest of what a job of the model
is to do is in its name, and in the names of the files that the job makes.
"""

import argparse

from powerblend.infrastructure.files import write_text
from powerblend.jobs import arguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Name the study."""
    arguments.add_paths(parser, config=arguments.CONFIGURATION)


def run(options: argparse.Namespace) -> None:
    """Write the specs."""
    _, layout = arguments.read_study(options.config)
    for path, text in layout.specs.items():
        write_text(path, text + "\n")
