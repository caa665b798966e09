"""Write down the configuration that runs, and what every job is to do.

A file per job goes to results/STUDY/specs/, in canonical JSON; the digest of what a job of the
model is to do is in its name, and in the names of the files that the job makes.
"""

import argparse
import json

from powerblend.infrastructure.files import write_text
from powerblend.jobs import arguments
from powerblend.vocabulary.specs import canonical


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give the configuration."""
    parser.add_argument("--merged", required=True, help="the merged configuration, as JSON")
    arguments.add_paths(parser, output=f"{arguments.CONFIGURATION}, to write")


def run(options: argparse.Namespace) -> None:
    """Write the configuration and the specs."""
    write_text(options.output, canonical(json.loads(options.merged)) + "\n")
    _, layout = arguments.read_study(options.output)
    for path, text in layout.specs.items():
        # Its name is the digest of its content: what is there stays, with its time.
        if not path.exists() or path.read_text(encoding="utf-8") != text + "\n":
            write_text(path, text + "\n")
