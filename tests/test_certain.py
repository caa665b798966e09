"""Plain numbers: what is decided without the graders is what both of them would have said."""

import json
import subprocess
import sys
from collections.abc import Generator, Sequence
from itertools import product
from pathlib import Path

import pytest

from powerblend.graders import Case, Verdict, math, parse_grader
from powerblend.graders.mathematics import worker
from powerblend.graders.mathematics.certain import certain_verdict

DATA = Path(__file__).parents[2] / "shared" / "data"
"""Collections of answers beside the checkout."""

CERTAIN = [
    *("0", "-0", "00", "0.0", r"\frac{0}{5}", "1", "-1", "3", "3.0", "03", "007", "7", "$7$", "4"),
    *("5", "-5", "5.00", ".5", "-.5", "0.5", "0.50", "1/2", "2/4", "-1/2", "8/2", "7/2", "3.5"),
    *(r"\frac{1}{2}", r"\dfrac{1}{2}", r"\frac{-1}{2}", r"-\frac{1}{2}", r"\frac{1}{-2}"),
    *(r"\frac{8}{2}", r"-\frac{-1}{2}", r"\tfrac{2}{4}", "1/3", r"\frac{1}{3}", "0.333", "$-5$"),
    *("0.3333333", "2.9999999", "2.999997", "3.000001", "3.000002", "3.0000021", "1000", "1,000"),
    *("1,234,567", "1234567", "1234567.5", "123456789012345", "123456789012346", "", " "),
]
UNCERTAIN = [
    *("+5", "5.", "--5", "1e3", "1 000", "12,34", "0,500", "1{,}000", "1,000.5", "10^3", r"\$5"),
    *(r"5\%", "1/0", r"\frac{1}{0}", r"\frac12", "3 1/2", "٣", "５", "½", "−5", "x", "6m", "(5)"),
    *("9" * 16, "0." + "3" * 8, "1" * 400, ".", "-", "$", r"\frac{1}{2", "5\n6"),
]


def asked(answer: str, gold: str) -> Verdict:
    """What the two graders say in workers, and the pool where there is nothing to ask."""
    if not answer.strip():
        return Verdict(False, False, "no answer")
    correct, rule = worker.primary(answer, gold, "Find all values.")
    return Verdict(correct, worker.second(answer, gold), None, rule)


def test_certain_verdicts_are_those_of_both_graders() -> None:
    certain = {
        pair: certain_verdict(*pair) for pair in product(CERTAIN, CERTAIN) if pair[1].strip()
    }
    silent = [pair for pair, verdict in certain.items() if verdict is None]
    assert ("0.3333333", "1/3") in silent
    assert len(silent) < 0.02 * len(certain)
    for pair, verdict in certain.items():
        if verdict is not None:
            assert (pair, verdict) == (pair, asked(*pair))


@pytest.mark.parametrize("text", UNCERTAIN)
def test_of_other_spellings_nothing_is_said(text: str) -> None:
    assert certain_verdict(text, "5") is None
    assert certain_verdict("5", text) is None


@pytest.mark.parametrize("name", ["grading_pairs", "grading_cases", "math500"])
def test_certain_verdicts_on_answers_of_models(name: str) -> None:
    path = DATA / f"{name}.jsonl"
    if not path.exists():
        pytest.skip("the collections are not beside this checkout")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    if name == "math500":
        golds = [row["answer"] for row in rows]
        pairs = list(zip(golds + golds[1:], golds + golds[:-1], strict=True))
    else:
        pairs = [(row["answer"], row["gold"]) for row in rows if "answer" in row and "gold" in row]
    certain = {pair: certain_verdict(*pair) for pair in pairs}
    decided = {pair: verdict for pair, verdict in certain.items() if verdict is not None}
    assert len(decided) > 5
    assert decided == {pair: asked(*pair) for pair in decided}


ALL_PLAIN = """
import sys
from powerblend.graders import Case, parse_grader
cases = [Case(answer, "", "42") for answer in ("42", "41", "42.0", "84/2", None, "42")]
print([verdict.correct for verdict in parse_grader({"grader": "math"}).verdicts(cases, 2)])
print({"sympy", "antlr4", "math_verify", "pebble"} & set(sys.modules))
"""


def test_plain_numbers_need_no_worker_and_no_algebra() -> None:
    command = [sys.executable, "-c", ALL_PLAIN]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert printed == "[True, False, True, False, False, True]\nset()\n"


def test_workers_are_asked_what_is_not_certain(monkeypatch: pytest.MonkeyPatch) -> None:
    questions: list[Case] = []

    def answers(cases: Sequence[Case], workers: int) -> Generator[Verdict]:
        questions.extend(cases)
        yield from (Verdict(True, None, case.answer) for case in cases)

    monkeypatch.setattr(math, "_asked", answers)
    texts = ["x", "42", "y", "x", "7", "y"]
    verdicts = parse_grader({"grader": "math"}).verdicts([Case(t, "", "42") for t in texts], 1)
    assert [verdict.reason for verdict in verdicts] == ["x", None, "y", "x", None, "y"]
    assert [case.answer for case in questions] == ["x", "y"]
