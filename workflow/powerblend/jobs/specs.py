"""Write down what every job of the model is to do: answers, probe, betas and training.

A file per job goes to results/STUDY/specs/, in canonical JSON; the digest of what the job is to do
is in its name, and in the names of the files that the job makes. The workflow runs this once the
study has been checked, and only for files that are missing.
"""

import argparse

from powerblend.infrastructure.files import write_missing
from powerblend.jobs import arguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give the configuration."""
    arguments.add_paths(parser, config=arguments.CONFIGURATION)


def run(options: argparse.Namespace) -> None:
    """Write the specs that are not there yet."""
    _, layout = arguments.read_study(options.config)
    for path, text in layout.job_specs.items():
        write_missing(path, text + "\n")
