"""What the probe's two jobs begin with: the model, and the text that it reads."""

import argparse
from collections.abc import Sequence

from powerblend.blends import Blend
from powerblend.engine.model import Model
from powerblend.jobs.models import load
from powerblend.probe.passages import Text, text_of
from powerblend.study.problems import read_problems
from powerblend.study.record_files import read_records
from powerblend.vocabulary.records import AnswerRecord
from powerblend.vocabulary.specs import MeasurementSpec, ReadingSpec


def load_text(
    options: argparse.Namespace, spec: ReadingSpec, blends: Sequence[Blend]
) -> tuple[Model, Text]:
    """The model, with the draft that a blend may need, and the passages to read."""
    model = load(spec.model, blends, path=options.model, draft=options.draft, device=options.device)
    return model, _text(options, spec, model)


def own_text(options: argparse.Namespace, spec: MeasurementSpec, model: Model) -> Text | None:
    """The model's own answers, where blends are measured on them too."""
    if spec.own is None:
        return None
    return _text(options, spec.model_copy(update={"over": spec.own}), model)


def _text(options: argparse.Namespace, spec: ReadingSpec, model: Model) -> Text:
    records = [record for path in options.records for _, record in read_records(path, AnswerRecord)]
    return text_of(spec, model.tokenizer, read_problems(options.problems), records)
