"""Print the JSON schema of a study's configuration."""

import argparse
import json

from powerblend.study.schema import study_schema


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """It takes none."""


def run(options: argparse.Namespace) -> None:
    """Print the schema."""
    print(json.dumps(study_schema(), indent=2))
