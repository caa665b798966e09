"""Answers and grades as others take them: a table of typed columns, and the card that explains it.

Columns are the fields of the records, whatever those come to have. Knows no files.
"""

from collections.abc import Iterable, Mapping, Sequence
from types import UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

import pyarrow as pa
from pydantic import BaseModel

import powerblend
from powerblend.study.schema import Study
from powerblend.vocabulary.problem import Problem
from powerblend.vocabulary.records import AnswerCounts, AnswerRecord, GradeRecord

JUDGED = [name for name in GradeRecord.model_fields if name not in AnswerCounts.model_fields]
"""Columns that come from a grade."""

PLAIN_TYPES = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}


class Counted(NamedTuple):
    """A condition in the card: how it draws, its answers and those that are right."""

    name: str
    how: str
    answers: int
    correct: int


def table(
    study: str,
    condition: str,
    graded: Iterable[tuple[AnswerRecord, GradeRecord]],
    problems: Mapping[str, Problem],
) -> pa.Table:
    """The answers of a condition, a row each, with their problems and their grades."""
    rows = [
        record.model_dump()
        | {name: value for name, value in grade.model_dump().items() if name in JUDGED}
        | {"study": study, "condition": condition}
        | {"problem": problems[record.problem_id].problem}
        for record, grade in graded
    ]
    return pa.Table.from_pylist(rows, schema())


def schema() -> pa.Schema:
    """The columns: where an answer belongs, its problem, its record and its grade."""
    answer, grade = AnswerRecord.model_fields, GradeRecord.model_fields
    kinds = {name: answer[name].annotation for name in ("study", "condition", "problem_id")}
    kinds |= {"problem": str}
    kinds |= {name: field.annotation for name, field in answer.items()}
    kinds |= {name: grade[name].annotation for name in JUDGED}
    return pa.schema([(name, _arrow(kind)) for name, kind in kinds.items()])


def _arrow(kind: Any) -> pa.DataType:
    """The type of a column whose field has this annotation."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        (given,) = [part for part in inner if part is not type(None)]
        return _arrow(given)
    if origin is Annotated:
        return _arrow(inner[0])
    if origin is Literal:
        return pa.string()
    if origin is list:
        return pa.list_(_arrow(inner[0]))
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return pa.struct([(n, _arrow(f.annotation)) for n, f in kind.model_fields.items()])
    return PLAIN_TYPES[kind]


def card(study: Study, conditions: Sequence[Counted], licence: str | None) -> str:
    """The dataset's README.md, in the form that the Hugging Face hub reads."""
    model, dataset = study.model, study.dataset
    counts = "\n".join(
        f"| `{c.name}` | {c.how} | {c.answers} | {c.correct / max(1, c.answers):.1%} |"
        for c in conditions
    )
    grading = study.grading.model_dump(mode="json")
    return f"""---
pretty_name: {_quoted(study.title)}
license: {licence or "other"}
tags: [powerblend, power-sampling]
configs:
- config_name: answers
  data_files: data/*.parquet
---

# {study.title}

Every answer of a study and its grade, written by powerblend
{powerblend.__version__}. The model is {_named(model)} in {model.dtype}, the problems are of
{_named(dataset)}, and the seed{_several(study.answer_seeds)}.

| condition | how it draws | answers | correct |
|---|---|---:|---:|
{counts}

`config.json` is the whole configuration: with it, `snakemake --configfile config.json` makes the
same answers anew. `specs/` has, of every condition, all that decides its answers.

## Licence

{_licence(licence)}

## Load

```python
from datasets import load_dataset

answers = load_dataset(FOLDER, split="train")
```

`FOLDER` is this folder, or the name of the repository to which it was uploaded.

A row is an answer: `condition`, `problem_id` and `sample` name it, `completion` is its text and
`tokens` its token ids, `log_p` the log-probability that the model gives it, `correct` the verdict
on it and `reason` why there is none. `decoded_tokens` is what it cost, rejected proposals included;
`accepted_by_block` and `log_t_by_block` are its chain's course.

## Grade again

```python
from powerblend.graders import Case, parse_grader

grader = parse_grader({grading!r})


def case(row):
    asked = row["problem"], row["gold"]
    return Case(grader.answer_to(row["completion"], *asked), *asked)


if __name__ == "__main__":  # the grader's own processes read this file too
    cases = [case(row) for row in answers]
    verdicts = list(grader.verdicts(cases, workers=1))
```

It needs powerblend with the study's packages. `verdicts[i].correct` is `answers[i]["correct"]`, by
the same version of powerblend.
"""


def _several(seeds: Sequence[int]) -> str:
    numbers = ", ".join(map(str, seeds))
    return f" is {numbers}" if len(seeds) == 1 else f"s are {numbers}"


def _named(section: Any) -> str:
    at = f" at revision `{section.revision}`" if section.revision else ""
    return f"`{section.name}`{at}"


def _licence(licence: str | None) -> str:
    others = (
        "The problems are under the licence of their dataset, and what a model wrote is under the "
        "terms of that model: see their own pages."
    )
    return f"The records are under {licence}. {others}" if licence else others


def _quoted(text: str) -> str:
    """As YAML takes it, whatever is in it."""
    return "'" + text.replace("'", "''") + "'"
