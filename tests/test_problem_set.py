"""The embedded problem set: made by its script, sound, and right by arithmetic of its own."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest
import yaml

RESOURCES = Path(__file__).parents[1] / "resources"
PROBLEMS = RESOURCES / "problems"
FIELDS = {"problem", "solution", "answer", "subject", "level", "unique_id"}
ARGUMENTS = {
    "basic": ["--seed", "0", "--count", "104"],
    "train": ["--seed", "1", "--count", "150", "--exclude", str(PROBLEMS / "basic.jsonl")],
}

Record = dict[str, str | int]


def records(name: str) -> list[Record]:
    lines = (PROBLEMS / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def generate(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(PROBLEMS / "generate.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True)


ALL = [*records("basic"), *records("train")]

# How each family reads, and its answer from the numbers in the text, with no sympy.
READINGS: dict[str, tuple[str, Callable[..., int | Fraction]]] = {
    "arithmetic/sums": (r"What is (\d) \+ (\d)\?", lambda a, b: a + b),
    "arithmetic/tens": (r"What is (\d0) \+ (\d0)\?", lambda a, b: a + b),
    "arithmetic/two-digit-sums": (r"What is (\d\d) \+ (\d\d)\?", lambda a, b: a + b),
    "arithmetic/products": (r"What is (\d) \* (\d)\?", lambda a, b: a * b),
    "arithmetic/tens-products": (r"What is (\d) \* (\d0)\?", lambda a, b: a * b),
    "arithmetic/long-products": (r"What is (1\d) \* (\d)\?", lambda a, b: a * b),
    "arithmetic/precedence": (r"What is (\d) \* (\d) \+ (\d)\?", lambda a, b, c: a * b + c),
    "arithmetic/squares": (r"What is (\d+)\^2\?", lambda a: a * a),
    "powers/cubes": (r"What is (\d)\^3\?", lambda a: a * a * a),
    "powers/two": (r"What is 2\^(\d)\?", lambda n: 1 << n),
    "sequences/sums": (r"What is 1 \+ 2 \+ \.\.\. \+ (\d+)\?", lambda n: sum(range(n + 1))),
    "equations/small": (r"Solve x \+ (\d+) = (\d+)\.", lambda a, b: b - a),
    "equations/large": (r"Solve x \+ (\d+) = (\d+)\.", lambda a, b: b - a),
    "equations/two-step": (
        r"Solve (\d)x \+ (\d) = (\d+)\.",
        lambda a, b, c: Fraction(c - b, a),
    ),
    "values/multiples": (r"If x = (\d), what is (\d)x\?", lambda x, a: a * x),
    "values/linear": (r"If x = (\d), what is (\d)x \+ (\d)\?", lambda x, a, b: a * x + b),
    "measures/weeks": (r".* (\d+) weeks\?", lambda a: 7 * a),
    "measures/years": (r".* (\d+) years\?", lambda a: 12 * a),
    "areas/rectangles": (r".* sides (\d) and (\d)\. .* area\?", lambda a, b: a * b),
    "volumes/cubes": (r"A cube has side (\d+)\. .* volume\?", lambda a: a**3),
    "probability/draws": (
        r".* (\d) red and (\d) blue .*",
        lambda red, blue: Fraction(red, red + blue),
    ),
}


def latex(value: int | Fraction) -> str:
    exact = Fraction(value)
    if exact.denominator == 1:
        return str(exact)
    return rf"\frac{{{exact.numerator}}}{{{exact.denominator}}}"


def family_of(record: Record) -> str:
    return str(record["unique_id"]).rsplit("/", 1)[0]


@pytest.mark.parametrize("name", ARGUMENTS)
def test_script_makes_the_shipped_bytes(name: str, tmp_path: Path) -> None:
    made = tmp_path / "made.jsonl"
    done = generate(*ARGUMENTS[name], "--output", str(made))
    assert done.returncode == 0, done.stderr
    assert made.read_bytes() == (PROBLEMS / f"{name}.jsonl").read_bytes()


def test_another_seed_gives_other_problems(tmp_path: Path) -> None:
    made = tmp_path / "made.jsonl"
    generate("--seed", "2", "--output", str(made))
    assert made.read_bytes() != (PROBLEMS / "basic.jsonl").read_bytes()


def test_too_many_problems_are_refused_in_words(tmp_path: Path) -> None:
    made = tmp_path / "made.jsonl"
    done = generate("--count", "1000000", "--output", str(made))
    assert done.returncode == 1
    assert "--count 1000000: only" in done.stderr
    assert not made.exists()


@pytest.mark.parametrize(("name", "count"), [("basic", 104), ("train", 150)])
def test_counts_and_levels(name: str, count: int) -> None:
    assert len(records(name)) == count
    assert {record["level"] for record in records(name)} == {1, 2, 3, 4, 5}


def test_every_record_has_the_fields_of_math() -> None:
    for record in ALL:
        assert set(record) == FIELDS
        assert all(isinstance(record[field], str) and record[field] for field in FIELDS - {"level"})


def test_every_solution_ends_with_its_answer() -> None:
    for record in ALL:
        ending = rf" The answer is \boxed{{{record['answer']}}}."
        assert str(record["solution"]).endswith(ending), record


@pytest.mark.parametrize("field", ["problem", "unique_id"])
def test_nothing_comes_twice_within_or_between_the_sets(field: str) -> None:
    values = [record[field] for record in ALL]
    assert len(set(values)) == len(values)


def test_basic_has_as_many_of_every_family() -> None:
    families = [family_of(record) for record in records("basic")]
    assert {families.count(name) for name in families} == {4}


@pytest.mark.parametrize("name", READINGS)
def test_answers_are_right(name: str) -> None:
    pattern, compute = READINGS[name]
    kind = [record for record in ALL if family_of(record) == name]
    assert kind
    for record in kind:
        match = re.fullmatch(pattern, str(record["problem"]))
        assert match, record
        assert record["answer"] == latex(compute(*map(int, match.groups()))), record


def test_stories_multiply_or_add_their_numbers() -> None:
    adding = {"stories/more"}
    multiplying = {"stories/bags", "stories/prices", "counting/outfits", "rates/drives"}
    for record in ALL:
        if (name := family_of(record)) in adding | multiplying:
            a, b = map(int, re.findall(r"\d+", str(record["problem"])))
            assert record["answer"] == str(a + b if name in adding else a * b), record


def test_worked_examples_are_boxed_and_not_in_the_sets() -> None:
    shots = yaml.safe_load((RESOURCES / "prompts" / "four_shot.yaml").read_text(encoding="utf-8"))
    assert len(shots) == 4
    assert not {shot["problem"] for shot in shots} & {record["problem"] for record in ALL}
    for shot in shots:
        assert re.search(r" The answer is \\boxed\{[^{}]+\}\.$", shot["solution"])
