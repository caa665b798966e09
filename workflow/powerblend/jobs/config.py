"""Write down the configuration that runs, and what is read, checked and graded by it.

What the jobs before the model's are to do goes to results/STUDY/specs/, a file each, in canonical
JSON, with the digest of what decides its outcome in its name.
"""

import argparse
import json

from powerblend.infrastructure.files import write_missing, write_text
from powerblend.jobs import arguments
from powerblend.vocabulary.specs import canonical


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give the configuration."""
    parser.add_argument("--merged", required=True, help="the merged configuration, as JSON")
    arguments.add_paths(parser, output=f"{arguments.CONFIGURATION}, to write")


def run(options: argparse.Namespace) -> None:
    """Write the configuration, and the specs that are not there yet."""
    write_text(options.output, canonical(json.loads(options.merged)) + "\n")
    _, layout = arguments.read_study(options.output)
    for path, text in layout.reading_specs.items():
        write_missing(path, text + "\n")
