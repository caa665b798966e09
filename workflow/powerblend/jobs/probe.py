"""Measure what each layer knows and what blending it would change.

A text (solutions, or the model's own greedy answers) is read once, token by token; of
solutions, the study's blends are measured on the model's own answers too.
For every decoder layer, as it is (norm none) and after the final norm (norm final), and
for blends of chosen sources at chosen betas:

  rank         of the text's token under lm_head of that state, from 1; log_loss in nats
  better       share of tokens that it ranks strictly better than the final layer does
  likelier     share of tokens to which it gives more probability
  hard_...     the same on hard tokens, those that the model gives less than 1%
  kl, flips    KL(p || p_guided) per token in nats; how often the most likely token changes
  scale        standard deviation of the logits, relative to the model's

A layer that is worse than the last one everywhere has nothing to add; one that is better on
hard tokens may.
"""

import argparse
from pathlib import Path

from powerblend.infrastructure.files import write_json
from powerblend.jobs import arguments
from powerblend.jobs.device import on_device
from powerblend.jobs.reading import load_text, own_text
from powerblend.probe.run import probe
from powerblend.study.resolve import BLEND
from powerblend.vocabulary.measurements import MatchedBlend
from powerblend.vocabulary.specs import MeasurementSpec


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Name what to read and what to measure."""
    arguments.add_reading(parser, "what to read and to measure")
    parser.add_argument(
        "--betas",
        type=Path,
        nargs="*",
        default=[],
        metavar="PATH",
        help="what match found, for blends to measure on the model's own answers",
    )


def run(options: argparse.Namespace) -> None:
    """Write what the probe measured."""
    spec = arguments.read_spec(options.spec, MeasurementSpec)
    with on_device(options):
        found = [MatchedBlend.read(path).blend for path in options.betas]
        matched = [BLEND.validate_python(blend.model_dump(exclude_none=True)) for blend in found]
        model, text = load_text(options, spec, [*spec.blends, *matched])
        measured = probe(spec, model, text, own_text(options, spec, model), matched)
        write_json(options.output, measured.model_dump(mode="json"))
