"""Grading: every bug found is a row of a table, and nothing that a model writes does harm."""

import json
import sys
import time
from pathlib import Path

import pytest

from powerblend.graders.mathematics.budget import OutOfBudgetError, budget
from powerblend.graders.mathematics.normalise import CHARACTER_LIMIT, normalise
from powerblend.graders.mathematics.parsing import Unreadable, read
from powerblend.graders.mathematics.shape import Shape, shape_of
from powerblend.grading import GraderPool, Verdict, extract_boxed, grade

PAIRS = Path(__file__).parents[2] / "shared" / "data" / "grading_pairs.jsonl"


@pytest.mark.parametrize(
    ("completion", "answer"),
    [
        (r"so \boxed{5}.", "5"),
        (r"first \boxed{1}, then \boxed{2}", "2"),
        (r"\boxed{1} and \fbox{2}", "2"),
        (r"\boxed{\frac{1}{\sqrt{2}}} done", r"\frac{1}{\sqrt{2}}"),
        (r"\boxed{\left\{1, 2\right\}}", r"\left\{1, 2\right\}"),
        (r"an open set \boxed{\{1, 2}", r"\{1, 2"),
        (r"\boxed {7}", "7"),
        (r"\boxed 5", "5"),
        (r"$\boxed 42$ and more", "42"),
        (r"it is \boxed 5.", "5"),
        (r"\boxed5 it is", "5"),
        (r"\boxed{}", ""),
        (r"\boxed{ 3 }", "3"),
        (r"\boxed{a \fbox{b} c}", "b"),
        (r"\boxed{1} but then \boxed{2", "1"),
        (r"a stray } and \boxed{4}", "4"),
        (r"a stray { and \boxed{4}", "4"),
        (r"\boxed{line\\one}", r"line\\one"),
        (r"\boxedsomething{4}", None),
        (r"\boxed", None),
        (r"\boxed{4", None),
        ("no box", None),
        ("", None),
    ],
)
def test_extract_boxed(completion: str, answer: str | None) -> None:
    assert extract_boxed(completion) == answer


@pytest.mark.parametrize(
    ("written", "normal"),
    [
        (r" \dfrac 34 ", r"\frac{3}{4}"),
        (r"\tfrac9{19}", r"\frac{9}{19}"),
        (r"11\sqrt2", r"11\sqrt{2}"),
        ("√122", r"\sqrt{122}"),
        (r"$\text{(B)}$", "B"),
        (r"\textbf{(C)}", "C"),
        (r"\text{\text{east}}", "east"),
        (r"\left( 3, \frac{\pi}{2} \right)", r"(3,\frac{\pi}{2})"),
        (r"\pi r^{2}", r"\pi r^2"),
        (r"\$32,\!348", "32348"),
        (r"11,\! 111,\! 111,\! 100", "11111111100"),
        ("58,500", "58500"),
        ("1{,}000", "1000"),
        ("(1,234)", "(1,234)"),
        ("3, 100, 200", "3,100,200"),
        (r"x = (2,12) \cup (12,102)", r"x=(2,12)\cup(12,102)"),
        (r"10\%", "10"),
        (r"145^{\circ}", "145"),
        ("54°", "54"),
        (r"5.4 \text{ cents}", "5.4"),
        ("5 cm", "5"),
        ("3 square units", "3"),
        ("12 inches", "12"),
        ("5m", "5m"),
        (r"15\mbox{ cm}^2", r"15\unit^2"),
        (r"864 \text{ square inches}", "864"),
        ("1 4/5", r"1\frac{4}{5}"),
        (r"\frac{1}{2}.", r"\frac{1}{2.}"),
        (r"4210_{5}", "4210_5"),
        (r"1 \\", "1"),
        (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", r"\begin{pmatrix}1\\2\end{pmatrix}"),
        ("−5", "-5"),
        ("2\x00\x1b3", "23"),
    ],
)
def test_normalise(written: str, normal: str) -> None:
    assert normalise(written) == normal


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("(1,2]", Shape("tuple(]", ("1", "2"))),
        (r"\{1,(2,3)\}", Shape("set", ("1", "(2,3)"))),
        (r"(1,2)\cup[3,4)", Shape("union", ("(1,2)", "[3,4)"))),
        (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", Shape("matrix 2,2", ("1", "2", "3", "4"))),
        ("1,-2", Shape("list", ("1", "-2"))),
        ("y=2x", Shape("equation", ("y", "2x"))),
        ("(1+x)(2,3)", Shape("value", ("(1+x)(2,3)",))),
        ("(a+5)(b+2)", Shape("value", ("(a+5)(b+2)",))),
    ],
)
def test_shape(text: str, shape: Shape) -> None:
    assert shape_of(text) == shape


RIGHT = [
    # The same value, written otherwise.
    ("0.5", r"\frac{1}{2}"),
    ("5.5", r"\frac{11}{2}"),
    (".35625", "0.35625"),
    ("4/3", r"\frac43"),
    ("-0.9600", r"-\frac{24}{25}"),
    (r"-\frac{1}{3}", r"\frac{-1}{3}"),
    (r"\frac{1}{-3}", r"-\frac{1}{3}"),
    ("9/5", r"1\frac{4}{5}"),
    ("1 4/5", r"1\frac{4}{5}"),
    ("275/2", r"137 \frac{1}{2}"),
    (r"-1\frac{1}{2}", "-1.5"),
    (r"\sqrt{117}", r"3\sqrt{13}"),
    ("3√13", r"3\sqrt{13}"),
    ("6*sqrt(2)", r"6\sqrt{2}"),
    (r"\frac{1}{\sqrt{3}}", r"\frac{\sqrt{3}}{3}"),
    (r"\sqrt{7+4\sqrt{3}}", r"2+\sqrt{3}"),
    (r"\sqrt[3]{16}", r"2\sqrt[3]{2}"),
    ("274i + 1", "1+274i"),
    ("(-2 + 7i)", "-2 + 7i"),
    ("(b+2)(a+5)", "(a+5)(b+2)"),
    ("9a/20 + 11/20", r"\frac{11+9a}{20}"),
    ("n(n+1)/2", r"\frac{n^2+n}{2}"),
    (r"\frac{\cos x}{\sin x}", r"\cot x"),
    (r"1 - \sin^2 x", r"\cos^2 x"),
    (r"2\cdot\log_2 4x", r"2\log_2(4x)"),
    (r"8\cdot 2^n", "2^{n+3}"),
    (r"\binom{5}{2}x", "10x"),
    ("3!x", "6x"),
    (r"|-3|\pi", r"3\pi"),
    ("18 + 2π", r"18+2\pi"),
    (r"1 \pm 1\sqrt{19}", r"1 \pm \sqrt{19}"),
    # Names, units, wrappings, punctuation.
    ("x = 3", "3"),
    ("5", "x=5"),
    ("k=1", "1"),
    (r"\theta = 30^\circ", "30"),
    ("x = 58,500", "58,500"),
    ("3 + 2x", "y = 2x + 3"),
    (r"\text{x = 5}", "x=5"),
    ("90", r"90^\circ"),
    ("72°", "72"),
    ("$36.00", r"\$36"),
    (r"1\%", "1"),
    (r"12\text{ cm}", "12"),
    (r"12\text{ cm}^2", "12"),
    (r"15 \text{ in}^2", r"15\mbox{ cm}^2"),
    (r"\frac{270}{7}", r"\frac{270}7\text{ degrees}"),
    ("10.", "10"),
    ("2k+2.", "2k+2"),
    ("40_9.", "40_9"),
    (r"\frac{\sqrt{3}}{3}.", r"\frac{\sqrt{3}}{3}"),
    ("{216}", "216"),
    ("-0", "0"),
    ("-120.0", "-120"),
    ("007", "7"),
    # Structures, element by element.
    ("(-sqrt(3), sqrt(3))", r"(-\sqrt{3}, \sqrt{3})"),
    (r"\left( 1.5, -13 \right)", r"\left( \frac{3}{2}, -13 \right)"),
    (r"(-\infty, \frac{4}{2}x)", r"(-\infty, 2x)"),
    (r"(3,\infty)\cup(-\infty,2)", r"(-\infty, 2) \cup (3, \infty)"),
    (r"\{-2, 1\pm\sqrt{5}\}", r"\{1\pm\sqrt{5},-2\}"),
    (
        r"\begin{bmatrix} -\frac{1}{3} \\ \frac{2}{3} \end{bmatrix}",
        r"\begin{bmatrix} -1/3 \\ 2/3 \end{bmatrix}",
    ),
    (
        r"\begin{pmatrix} -\frac{1}{3} \\ \frac{2}{3} \end{pmatrix}",
        r"\begin{bmatrix} -1/3 \\ 2/3 \end{bmatrix}",
    ),
    ("x=1, x=-2", "1,-2"),
    ("5x - 7y + 11z = -4", "5x - 7y + 11z + 4 = 0"),
    (r"2516_{8}", "2516_8"),
    # Prose and choices.
    ("C", r"\text{(C)}"),
    ("{Navin}", r"\text{Navin}"),
    ("No Solution", r"\text{no solution}"),
]

WRONG = [
    # Not worked out: integers and plain fractions are strict.
    ("8/2", "4"),
    ("2+2", "4"),
    (r"\sqrt{16}", "4"),
    (r"\frac{49}{1}", "49"),
    (r"\frac{22}{4}", r"\frac{11}{2}"),
    ("4", r"\frac{12}{3}"),
    (r"\frac{11}{2}.", r"\frac{11}{2}"),
    # Close, and not equal.
    ("0.9091", r"\frac{10}{11}"),
    ("1.7320508", r"\sqrt{3}"),
    ("31831", r"\frac{20000}{\pi}"),
    ("--5", "-5"),
    ("5", "-5"),
    ("3r^2", "3R^2"),
    (r"\sqrt{x^2}", "x"),
    ("x^2+1", "x^2-1"),
    ("6cm", "-6"),
    # A unit's power, a number's base, a variable that looks like a unit.
    ("15", r"15\mbox{ cm}^2"),
    ("15 cm", r"15\mbox{ cm}^2"),
    ("2516", "2516_8"),
    ("1358", "2516_8"),
    ("5", "5m"),
    # A full stop that is no decimal point.
    ("0.15.", "0.15"),
    (r"\sqrt{51}.", r"\sqrt{51}"),
    ("(15,-29).", "(15,-29)"),
    ("3R^2.", "3R^2"),
    # Another structure.
    ("(2,4)", "[2,4]"),
    ("(2,4]", "(2,4)"),
    ("2,4", "(2,4)"),
    ("(2,4,6)", "(2,4)"),
    ("(4,2)", "(2,4)"),
    ("-2,1", "1,-2"),
    (r"\{1,1,2\}", r"\{1,2,2\}"),
    ("x=5", r"x\le 5"),
    ("x = x=5", "x=5"),
    (r"\tan A = 2", "2"),
    ("20x - 28y + 44z + 16 = 0", "5x - 7y + 11z + 4 = 0"),
    (r"3 + 2\sqrt{2}, 3 - 2\sqrt{2}", r"3 \pm 2 \sqrt{2}"),
    (r"\begin{pmatrix} 1 & 2 \end{pmatrix}", r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}"),
    # Prose is not multiplied out.
    ("seat", r"\text{east}"),
    (r"x = \text{Evelyn}", r"\text{Evelyn}"),
    (r"\text{even}\text{ or odd}", r"\text{even}"),
    ("E) Hyperbola", r"\text{(E)}"),
    (r"\text{No solution}", "3"),
    # Nothing.
    ("", "0"),
    ("   ", "0"),
    (None, "0"),
    ("{}", "0"),
    ("1/0", "2/0"),
]


@pytest.mark.parametrize(("answer", "gold"), RIGHT)
def test_right(answer: str, gold: str) -> None:
    assert grade(answer, gold)


@pytest.mark.parametrize(("answer", "gold"), WRONG)
def test_wrong(answer: str | None, gold: str) -> None:
    assert not grade(answer, gold)


@pytest.mark.parametrize(("answer", "gold"), [pair for pair in RIGHT if "x=" not in pair[0]])
def test_decorations_change_nothing(answer: str, gold: str) -> None:
    decorated = [f" {answer} ", f"${answer}$", f"\\text{{{answer}}}", f"{{{answer}}}"]
    assert [grade(spelling, gold) for spelling in decorated] == [True] * 4


HOSTILE = {
    "power tower": "9^{9^{9^9}}",
    "python tower": "9**(9**(9**9))",
    "tower in a letter": "9^{9^{9^{9^x}}}",
    "tower of e": "e^{e^{e^{e^e}}}",
    "tower in a denominator": r"\frac{1}{9^{9^{9^9}}}",
    "powers of powers": "(((x+y)^{30})^{30})^{30}",
    "many terms": "(a+b+c+d+f+g)^{30}(a-b-c-d-f-g)^{30}",
    "long sine": r"\sin(10^{1000})",
    "factorial": "((9!)!)!",
    "binomial": r"\binom{10^9}{10^8}",
    "root": r"\sqrt[10^{400}]{2}",
    "zeroth root": r"\sqrt[0]{2}",
    "division by zero": r"\frac{0}{0}",
    "braces": "{" * 10_000 + "1" + "}" * 10_000,
    "fewer braces": "{" * 450 + "1" + "}" * 450,
    "brackets": "(" * 400 + "1" + ")" * 400,
    "tuples": "(1," * 240 + "2" + ")" * 240,
    "open fractions": r"\frac{" * 150,
    "roots": r"\sqrt{" * 120 + "2" + "}" * 120,
    "signs": "-" * 900 + "1",
    "megabyte": "1" * 1_000_000,
    "megabyte of boxes": r"\boxed{" * 150_000,
    "code": "__import__('os').system('touch {proof}')",
    "attributes": "().__class__.__bases__[0].__subclasses__()",
    "unbalanced": r"}}\frac{1}{2",
    "control characters": "\x00\x01\x1b[31m",
    "lone surrogate": "\ud800",
    "backslashes": "\\" * 999,
    "empty": "",
    "blank": " \n\t ",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_answers_are_wrong_at_once(name: str, tmp_path: Path) -> None:
    proof = tmp_path / "executed"
    answer = HOSTILE[name].replace("{proof}", str(proof))
    start = time.process_time()
    assert [grade(answer, gold) for gold in ("2", "x+1", r"(1,\sqrt{2})")] == [False] * 3
    assert not grade("2", answer)
    extract_boxed(answer)
    assert time.process_time() - start < 2
    assert not proof.exists()


def test_a_budget_ends_the_block_and_nothing_else() -> None:
    def descend(levels: int) -> int:
        return levels and descend(levels - 1)

    before = sys.getprofile()
    with budget(1000):
        descend(100)
    with pytest.raises(OutOfBudgetError), budget(100):
        descend(100)
    assert sys.getprofile() is before
    descend(100)


def test_equal_but_endless_is_not_simplified() -> None:
    """These are equal, and sympy would take minutes and gigabytes to find it out."""
    product = r"\cos x\cos 2x\cos 4x\cos 8x\cos 16x\cos 32x\cos 64x"
    pairs = [
        (r"\sin(2(3+x)^{12})", r"2\sin((3+x)^{12})\cos((3+x)^{12})"),
        (product, r"\frac{\sin 128x}{128\sin x}"),
        ("(a+b+c+d+f+g)^{20}", "(a+b+c+d+f+g)^{10}(a(a+b+c+d+f+g)^9+(b+c+d+f+g)^{10})"),
    ]
    start = time.process_time()
    assert not any(grade(answer, gold) for answer, gold in pairs)
    assert time.process_time() - start < 20
    assert grade(r"\sin 2x", r"2\sin x\cos x")


@pytest.mark.parametrize(
    "text",
    ["2^", "x^2^3", "f(1;2)", r"\text{a}", "9" * 9 + "^{9999}", "1..2", "(1", "x" * 999, "٣"],
)
def test_reading_refuses(text: str) -> None:
    with pytest.raises(Unreadable):
        read(text)


def test_pool_grades_twice_in_order() -> None:
    pairs = [("0.5", r"\frac{1}{2}"), ("-2,1", "1,-2"), ("3", "4"), (None, "1"), ("3", "4")]
    pairs += [("x" * (CHARACTER_LIMIT + 1), "1")]
    with GraderPool(workers=2) as pool:
        verdicts = list(pool.grade(pairs))
    assert verdicts[0] == Verdict(True, True)
    assert verdicts[1] == Verdict(False, True)  # the graders differ on the order of a list
    assert verdicts[2] == verdicts[4] == Verdict(False, False)
    assert verdicts[3] == Verdict(False, False, "no answer")
    assert verdicts[5] == Verdict(False, None, f"longer than {CHARACTER_LIMIT} characters")


def test_hostile_answers_pass_through_the_pool(tmp_path: Path) -> None:
    proof = tmp_path / "executed"
    names = ["power tower", "code", "fewer braces", "control characters", "lone surrogate"]
    pairs = [(HOSTILE[name].replace("{proof}", str(proof)), "2") for name in names]
    start = time.perf_counter()
    with GraderPool(workers=2, seconds=5) as pool:
        verdicts = list(pool.grade([*pairs, ("2", "2")]))
    assert [verdict.correct for verdict in verdicts] == [False] * len(pairs) + [True]
    assert time.perf_counter() - start < 30
    assert not proof.exists()


TROUBLESOME = """
import os, sys, time
from powerblend.graders.mathematics.worker import serve

def primary(answer, gold):
    with open(sys.argv[1], "a") as log:
        print(answer, file=log)
    if answer == "die":
        os._exit(3)
    while answer == "spin":
        pass
    time.sleep(60 * (answer == "sleep"))
    print("chatter on standard output")
    return answer == gold

def second(answer, gold):
    if answer == "raise":
        raise ValueError
    time.sleep(60 * (answer == "doze"))
    return answer == gold

serve(float(sys.argv[2]), primary, second)
"""


@pytest.fixture
def troublesome(tmp_path: Path) -> tuple[list[str], Path]:
    """A worker that dies or hangs when asked to, and its log of what it was given."""
    script, log = tmp_path / "worker.py", tmp_path / "log"
    script.write_text(TROUBLESOME)
    return [sys.executable, str(script), str(log)], log


def test_workers_that_die_or_hang_are_replaced(troublesome: tuple[list[str], Path]) -> None:
    command, _ = troublesome
    answers = ["die", "1", "sleep", "spin", "doze", "raise", "1", "die", "2"]
    with GraderPool(workers=2, seconds=1, command=command) as pool:
        verdicts = list(pool.grade([(answer, "1") for answer in answers]))
    died, late = "worker ended with exit code 3", "took longer than 1 s"
    assert verdicts == [
        Verdict(False, None, died),
        Verdict(True, True),
        Verdict(False, None, late),
        Verdict(False, None, late),
        Verdict(False, None, f"second opinion: {late}"),
        Verdict(False, None),
        Verdict(True, True),
        Verdict(False, None, died),
        Verdict(False, False),
    ]


def test_equal_pairs_are_graded_once(troublesome: tuple[list[str], Path]) -> None:
    command, log = troublesome
    with GraderPool(workers=2, seconds=5, command=command) as pool:
        once = list(pool.grade([("1", "1"), ("2", "1"), ("1", "1")]))
        again = list(pool.grade([("2", "1"), ("1", "1")]))
    assert again == once[1::-1]
    assert sorted(log.read_text().split()) == ["1", "2"]


def test_pool_leaves_no_process_behind(troublesome: tuple[list[str], Path]) -> None:
    command, _ = troublesome
    with GraderPool(workers=1, seconds=60, command=command) as pool:
        process = pool._workers[0].process
        assert next(pool.grade([("1", "1"), ("sleep", "1")])).correct
    assert process.returncode is not None


def test_a_worker_that_cannot_start_is_an_error() -> None:
    with (
        GraderPool(workers=1, command=["false"]) as pool,
        pytest.raises(RuntimeError, match="false"),
    ):
        list(pool.grade([("1", "1")]))


@pytest.mark.skipif(not PAIRS.exists(), reason="the calibration pairs are not beside this checkout")
@pytest.mark.parametrize(("kind", "least"), [("model", 0.995), ("perturbed", 0.98)])
def test_agrees_with_the_calibration(kind: str, least: float) -> None:
    rows = [json.loads(line) for line in PAIRS.read_text().splitlines()]
    same = [grade(r["answer"], r["gold"]) == r["prm800k"] for r in rows if r["kind"] == kind]
    assert len(same) > 100
    assert sum(same) / len(same) >= least
