"""Find the beta at which a blend has a given KL.

The beta of a condition whose blend says `beta: {match_kl: 0.01}`, so that blends
of different sources are compared at equal perturbation: equal mean KL(p || p_guided).
"""

import argparse

from powerblend.infrastructure.files import write_json
from powerblend.jobs import arguments
from powerblend.jobs.device import on_device
from powerblend.jobs.reading import load_text
from powerblend.probe.run import match
from powerblend.vocabulary.specs import MatchSpec


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Name what to read, and the blend and its KL."""
    arguments.add_reading(parser, "what to read, the blend without its beta, and the KL")


def run(options: argparse.Namespace) -> None:
    """Write the beta that was found, and what the blend does with it."""
    spec = arguments.read_spec(options.spec, MatchSpec)
    like = [] if isinstance(spec.match_kl, float) else [spec.match_kl]
    with on_device(options):
        model, text = load_text(options, spec, [spec.blend, *like])
        write_json(options.output, match(spec, model, text).model_dump(mode="json"))
