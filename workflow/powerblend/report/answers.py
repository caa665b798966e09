"""The page to look at answers: every answer of a study in one HTML file, with filters.

What a model wrote reaches the page as JSON in a block that no browser runs, and the page's own
script, the only one that its policy lets run, writes it as text.
"""

import json
from collections.abc import Iterable, Mapping, Sequence

from powerblend.report.html import fill, policy_hash, template_text
from powerblend.vocabulary.problem import Problem
from powerblend.vocabulary.records import AnswerRecord, GradeRecord

Graded = tuple[AnswerRecord, GradeRecord]
"""An answer with the verdicts on it."""

GRADE_FIELDS = {"answer", "correct", "second", "reason", "rule"}
ANSWER_FIELDS = {
    *("seed", "sample", "completion", "finish", "n_tokens", "decoded_tokens", "log_p", "log_t"),
    *("moves", "accepted", "accepted_by_block", "log_t_by_block", "token_log_p"),
}


def render_answers(
    title: str, problems: Sequence[Problem], answers: Mapping[str, Iterable[Graded]]
) -> str:
    """The page.

    Parameters
    ----------
    title
        What the browser shows.
    problems
        The rows; one that no condition answered is left out.
    answers
        By condition, the columns.
    """
    by_condition = {name: _by_problem(graded) for name, graded in answers.items()}
    rows = [
        _row(problem, columns)
        for problem in problems
        if any(columns := [found.get(problem.unique_id, []) for found in by_condition.values()])
    ]
    data = {"conditions": list(by_condition), "problems": rows}
    script, style = (template_text(name) for name in ("answers.js", "answers.css"))
    return fill(
        "answers.html.j2",
        title=title,
        script=script,
        script_hash=policy_hash(script),
        style=style,
        style_hash=policy_hash(style),
        data=_inert(data),
    )


def _by_problem(graded: Iterable[Graded]) -> dict[str, list[dict[str, object]]]:
    found: dict[str, list[dict[str, object]]] = {}
    for record, grade in graded:
        shown = record.model_dump(include=ANSWER_FIELDS) | grade.model_dump(include=GRADE_FIELDS)
        found.setdefault(record.problem_id, []).append(shown)
    return found


def _row(problem: Problem, answers: list[list[dict[str, object]]]) -> dict[str, object]:
    return {
        "id": problem.unique_id,
        "problem": problem.problem,
        "gold": problem.answer,
        "subject": problem.subject,
        "level": problem.level,
        "answers": answers,
    }


def _inert(data: Mapping[str, object]) -> str:
    r"""JSON that cannot end the block it stands in: < is \u003c, and all else is ASCII."""
    return json.dumps(data, separators=(",", ":")).replace("<", r"\u003c")
