r"""Other benchmarks: rows as their publishers have them, answers as graders want them."""

import json
from pathlib import Path
from typing import Any

import pytest

from powerblend.graders import Case, parse_grader
from powerblend.graders.integer import integer
from powerblend.jobs.grade import grade_records
from powerblend.study.problems import load_problems, write_problems
from powerblend.vocabulary.errors import ConfigError
from powerblend.vocabulary.specs import DatasetSpec

DATA = Path(__file__).parent / "data"
CODE = {"grader": "code", "run_code": True, "seconds": 10}
NONE = dict.fromkeys(["decoded_tokens", "moves", "accepted", "unchanged", "early_rejected"], 0)
COUNTS: dict[str, Any] = NONE | {
    **{"n_tokens": 1, "tokens": [1], "finish": "eos", "log_p": 0.0, "seconds": 0.0, "key": ""},
    **{"accepted_by_block": [], "log_t_by_block": []},
}
"""What a record holds besides its answer."""


def problems(name: str, adapter: str, **settings: Any) -> list[tuple[str, str]]:
    dataset = DatasetSpec(name=str(DATA / f"{name}.jsonl"), adapter=adapter, **settings)
    return [(problem.unique_id, problem.answer) for problem in load_problems(dataset)]


def test_gsm8k_answers_stand_after_the_hashes() -> None:
    assert problems("gsm8k", "gsm8k") == [("test/0", "48"), ("test/1", "1300"), ("test/2", "-18")]


def test_aime_answers_are_integers_in_both_years() -> None:
    assert problems("aime_2024", "aime") == [("60", "24"), ("61", "100"), ("62", "170")]
    assert problems("aime_2025", "aime") == [("0", "56"), ("1", "144"), ("2", "42")]


def test_humaneval_answers_are_the_tests() -> None:
    (first, _), (second, tests) = problems("humaneval", "humaneval")
    assert (first, second) == ("HumanEval/0", "HumanEval/1")
    assert tests.rstrip().endswith("check(unshift)")


@pytest.mark.parametrize(
    ("name", "adapter", "solution"),
    [
        ("gsm8k", "gsm8k", "She makes 12 * 4 = 48 rolls."),
        ("aime_2024", "aime", r"$2^{10} = 1024$, so the answer is $\boxed{024}$."),
        ("aime_2025", "aime", ""),
        ("humaneval", "humaneval", "    return sum(numbers)\n"),
    ],
)
def test_solutions_are_read_where_there_are_any(name: str, adapter: str, solution: str) -> None:
    dataset = DatasetSpec(name=str(DATA / f"{name}.jsonl"), adapter=adapter)
    assert load_problems(dataset)[0].solution == solution


@pytest.mark.parametrize(
    ("adapter", "row", "sentence"),
    [
        ("gsm8k", {"question": "?", "answer": "5"}, "rows.jsonl, line 1: its answer has no ####"),
        ("gsm8k", {"problem": "?", "answer": "#### 5"}, "reads the column 'question', but"),
        ("aime", {"problem": "?", "answer": "1000", "id": 1}, "its answer is '1000', not an"),
        ("aime", {"problem": "?", "answer": "x", "id": 1}, "its answer is 'x', not an integer"),
        ("humaneval", {"prompt": "def f(): ..."}, "reads the column 'test', but"),
        ("gsm8k", {"question": " ", "answer": "#### 5"}, "rows.jsonl, line 1: has no problem"),
        ("gsm8k", {"question": "?", "answer": None}, "rows.jsonl, line 1: 'NoneType'"),
    ],
)
def test_a_row_of_another_shape_is_named(
    tmp_path: Path, adapter: str, row: dict[str, Any], sentence: str
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row) + "\n")
    with pytest.raises(ConfigError) as error:
        load_problems(DatasetSpec(name=str(path), adapter=adapter))
    assert sentence in str(error.value)


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("1,234", 1234),
        (r"\$18.00", 18),
        ("033", 33),
        ("-7", -7),
        ("x = 5", 5),
        (r"12 \text{ apples}", 12),
        ("−3", -3),
        (r"70^\circ", 70),
        ("18.5", None),
        ("2^3", None),
        ("8/2", None),
        ("", None),
        ("eight", 8),
        ("1" * 101, None),
        ("٣", None),
        ("1e3", None),
    ],
)
def test_an_integer_is_read_however_it_is_written(written: str, value: int | None) -> None:
    assert integer(written) == value


def test_integers_are_graded_without_a_second_opinion() -> None:
    grader = parse_grader({"grader": "integer"})
    completions = [r"so \boxed{1{,}300}.", r"\boxed{1301}", "1300", r"\boxed{1300.5}"]
    cases = [Case(grader.answer(text), "?", "1300") for text in completions]
    assert [tuple(verdict) for verdict in grader.verdicts(cases, 1)] == [
        (True, None, None, "the same integer"),
        (False, None, None, None),
        (False, None, "no answer", None),
        (False, None, None, None),
    ]


def test_a_reference_that_is_no_integer_is_refused_rather_than_never_met() -> None:
    grader = parse_grader({"grader": "integer"})
    with pytest.raises(ValueError, match=r"reference answer '1/2' is not an integer; use grading"):
        list(grader.verdicts([Case("1/2", "?", "1/2")], 1))


@pytest.mark.parametrize(
    ("completion", "code"),
    [
        ("```python\nx = 1\n```", "x = 1\n"),
        ("First:\n```\na\n```\nbetter:\n```py\nb\n```\ndone", "b\n"),
        ("```python3\nx = 1\n```\nRun it:\n```bash\npython x.py\n```\n", "x = 1\n"),
        ("  ```Python\n  x\n    y\n  ```", "x\n  y\n"),
        ("```python\nnever closed", None),
        ("x = 1", None),
        ("use `x`", None),
        ("```json\n{}\n```", None),
    ],
)
def test_the_answer_is_the_last_code_block(completion: str, code: str | None) -> None:
    assert parse_grader(CODE).answer(completion) == code


def test_the_code_grader_is_off_until_it_is_switched_on() -> None:
    for grading in ({"grader": "code"}, {"grader": "code", "run_code": False}):
        with pytest.raises(ValueError, match="write run_code: true to allow it"):
            parse_grader(grading)


def test_a_grade_keeps_the_rule_and_heeds_the_problem(tmp_path: Path) -> None:
    """Through the grade job: boxes in a row, a list in any order, and why an answer is right."""
    dataset = tmp_path / "set.jsonl"
    question = "Find all $x$ with $x^2+x=2$."
    row = {"problem": question, "solution": "", "answer": "1,-2", "unique_id": "a", "level": 1}
    dataset.write_text(json.dumps(row | {"subject": "algebra"}) + "\n")
    spec = DatasetSpec(name=str(dataset), adapter="math")
    write_problems(tmp_path / "problems.jsonl", load_problems(spec))
    completions = [r"$x=\boxed{-2}$ or $x=\boxed{1}$", r"\boxed{x=1,2}", "none"]
    records = [
        COUNTS | {"problem_id": "a", "sample": sample, "completion": text}
        for sample, text in enumerate(completions)
    ]
    (tmp_path / "records.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
    paths = (tmp_path / name for name in ("records.jsonl", "problems.jsonl", "grades.jsonl"))
    grade_records(*paths, parse_grader({"grader": "math"}), workers=1)
    grades = [json.loads(line) for line in (tmp_path / "grades.jsonl").open()]
    assert [(g["answer"], g["correct"], g["rule"], g["reason"]) for g in grades] == [
        ("-2, 1", True, "the same elements in any order", None),
        ("x=1,2", False, None, None),
        (None, False, None, "no answer"),
    ]


def test_programs_are_graded_by_their_tests(tmp_path: Path, sandboxed: None) -> None:
    """Through the grade job: whole functions, mere bodies, wrong ones, none, and an early exit."""
    dataset = DatasetSpec(name=str(DATA / "humaneval.jsonl"), adapter="humaneval")
    write_problems(tmp_path / "problems.jsonl", load_problems(dataset))
    bodies = [json.loads(line)["canonical_solution"] for line in (DATA / "humaneval.jsonl").open()]
    whole = "def unshift(text):\n    return shift(text[:]) if not text else _back(text)\n\n\n"
    whole += 'def _back(text):\n    return "".join(chr((ord(c) - 98) % 26 + 97) for c in text)\n'
    answers = [
        ("HumanEval/0", bodies[0], True),
        ("HumanEval/0", "def total(numbers):\n    return sum(numbers)\n", True),
        ("HumanEval/0", "def total(numbers):\n    return max(numbers)\n", False),
        ("HumanEval/0", "import sys\nsys.exit(0)\n", False),
        ("HumanEval/0", "print('passed')\n", False),
        ("HumanEval/1", bodies[1], True),
        ("HumanEval/1", whole, True),
        ("HumanEval/1", "def unshift(text:\n", False),
        ("HumanEval/1", "check = lambda candidate: None\n", False),
        ("HumanEval/1", None, False),
    ]
    rows = [
        COUNTS
        | {
            "problem_id": problem,
            "sample": number % 5,
            "completion": "I do not know." if code is None else f"Here:\n```python\n{code}```\n",
        }
        for number, (problem, code, _) in enumerate(answers)
    ]
    (tmp_path / "records.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    paths = (tmp_path / name for name in ("records.jsonl", "problems.jsonl", "grades.jsonl"))
    grade_records(*paths, parse_grader(CODE), workers=2)
    grades = [json.loads(line) for line in (tmp_path / "grades.jsonl").open()]
    assert [grade["correct"] for grade in grades] == [right for _, _, right in answers]
    assert {grade["second"] for grade in grades} == {None}
    assert grades[0]["rule"] == "its tests pass"
    assert grades[2]["rule"] is None
    assert grades[-1]["answer"] is None
    assert grades[-1]["reason"] == "no answer"
    assert (grades[0]["level"], grades[0]["subject"]) == (None, "")
