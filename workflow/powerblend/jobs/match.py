"""Find the beta at which a blend has a given KL, or its logits a given scale.

The beta of a condition whose blend says `beta: {match_kl: 0.01}` or `beta: {match_scale: 1.2}`, so
that blends of different sources are compared at equal perturbation; or of the exponent of one that
says `alpha: {match_scale: 1.2}`.
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
    arguments.add_reading(parser, "what to read, the blend without its beta, and what to match")


def run(options: argparse.Namespace) -> None:
    """Write the beta that was found, and what the blend does with it."""
    spec = arguments.read_spec(options.spec, MatchSpec)
    like = [] if isinstance(spec.target, float) else [spec.target]
    with on_device(options):
        model, text = load_text(options, spec, [spec.blend, *like])
        write_json(options.output, match(spec, model, text).model_dump(mode="json"))
