"""The page to look at answers: opened, filtered and searched in a real browser."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from browser import Browser
from powerblend.report.answers import Graded, render_answers
from powerblend.vocabulary.problem import Problem
from powerblend.vocabulary.records import AnswerRecord, GradeRecord
from test_report import HOSTILE

CONDITIONS = ["greedy", "temp", "ps", "blend_greedy", "blend_temp", "blend_ps"]
RUNS = [
    "</script><script>window.pwned = 1</script>",
    "<!--<script>window.pwned = 1",
    "<img src=x onerror='window.pwned = 1'>",
    "<svg onload='window.pwned = 1'>",
    "<iframe srcdoc='<script>parent.pwned = 1</script>'></iframe>",
    "<style>* { display: none }</style><link rel=stylesheet href=http://evil.example/x.css>",
    "\u2028window.pwned = 1\u2029 \0",
]
HOSTILES = [*HOSTILE, *RUNS]
COUNT = "document.querySelectorAll('#rows tr:not([hidden])').length"


def graded(problem: Problem, condition: str, completion: str, **grade: Any) -> Graded:
    counts: dict[str, Any] = {
        **{"problem_id": problem.unique_id, "sample": 0, "n_tokens": 3, "finish": "eos"},
        **{"decoded_tokens": 9, "moves": 4, "accepted": 3, "unchanged": 0, "early_rejected": 0},
        **{"log_p": -1.5, "accepted_by_block": [2, 1], "log_t_by_block": [-9.0, -6.0]},
        **{"seconds": 0.1, "finish": grade.pop("finish", "eos")},
    }
    shaded = {"token_log_p": [-0.1, -1.0, -0.4]}
    record = AnswerRecord(
        **counts, **shaded, condition=condition, completion=completion, tokens=[1, 2, 3], key=""
    )
    verdicts: dict[str, Any] = {"answer": "1", "correct": True, "second": None, "reason": None}
    described = {"subject": problem.subject, "level": problem.level, "gold": problem.answer}
    return record, GradeRecord(**counts, **described, **(verdicts | grade))


def page(problems: list[Problem], answers: dict[str, list[Graded]], path: Path) -> Path:
    path.write_text(render_answers("A study", problems, answers), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile")) as started:
        yield started


def test_data_cannot_leave_its_block(tmp_path: Path) -> None:
    """Without a browser: the page's own two scripts are all that a parser sees."""
    problems = [Problem(text, text, str(n), text) for n, text in enumerate(HOSTILES)]
    answers = {"<b>": [graded(problem, "<b>", problem.problem) for problem in problems]}
    text = page(problems, answers, tmp_path / "page.html").read_text()
    assert len(re.findall("<script", text)) == len(re.findall("</script", text)) == 2
    assert "<!--" not in text
    assert "evil.example" in text  # it is there, as data


@pytest.mark.browser
def test_hostile_answers_run_nothing_and_are_shown_as_they_are(
    browser: Browser, tmp_path: Path
) -> None:
    problems = [Problem(text, text, str(n), text, n) for n, text in enumerate(HOSTILES)]
    answers = {
        name: [
            graded(p, name, p.problem, answer=p.problem, reason=p.problem, correct=name == "temp")
            for p in problems
        ]
        for name in ("<img src=x onerror=alert(1)>", "temp")
    }
    browser.open(page(problems, answers, tmp_path / "page.html"))
    for n, text in enumerate(HOSTILES):
        browser.value(f"document.querySelectorAll('#rows tr')[{n}].click()")
        shown = browser.value("document.querySelector('#detail article pre').textContent")
        assert shown == text
        browser.value("detail.close()")
    assert browser.value("typeof window.pwned") == "undefined"
    assert browser.value("document.querySelectorAll('img, iframe, svg, a, link').length") == 0
    assert browser.complaints() == []
    assert browser.requested() == [(tmp_path / "page.html").as_uri()]


@pytest.fixture
def opened(browser: Browser, tmp_path: Path) -> Browser:
    """Five problems of two conditions, each with something of its own."""
    topics = ["Algebra", "Algebra", "Geometry", "Geometry", "Geometry"]
    problems = [Problem(f"Problem {n}", "1", f"id{n}", s, 1 + n) for n, s in enumerate(topics)]
    second: list[dict[str, Any]] = [
        {},
        {"correct": False, "answer": "2"},
        {"finish": "length"},
        {"answer": None, "reason": "no answer"},
        {"second": False},
    ]
    answers = {
        "greedy": [graded(p, "greedy", "so it is one") for p in problems],
        "ps": [
            graded(p, "ps", f"so it was one zebra{n}", **grade)
            for n, (p, grade) in enumerate(zip(problems, second, strict=True))
        ],
    }
    browser.open(page(problems, answers, tmp_path / "page.html"))
    return browser


def choose(browser: Browser, name: str, value: str) -> list[int]:
    """The problems that are left by a filter."""
    browser.value(f"at('{name}').value = '{value}'")
    browser.value(f"at('{name}').dispatchEvent(new Event('input', {{bubbles: true}}))")
    return browser.value("rows.flatMap(({made}, n) => made.hidden ? [] : [n])")


@pytest.mark.browser
@pytest.mark.parametrize(
    ("name", "value", "left"),
    [
        ("show", "differ", [1]),
        ("show", "wrong", [1]),
        ("show", "truncated", [2]),
        ("show", "unboxed", [3]),
        ("show", "graders", [4]),
        ("level", "3", [2]),
        ("subject", "Geometry", [2, 3, 4]),
        ("text", "ZEBRA3", [3]),
        ("text", "id4", [4]),
        ("text", "nowhere", []),
    ],
)
def test_filters_leave_what_they_say(
    opened: Browser, name: str, value: str, left: list[int]
) -> None:
    assert opened.value(COUNT) == 5
    assert choose(opened, name, value) == left
    assert opened.value("at('count').textContent") == f"{len(left)} of 5 problems"


@pytest.mark.browser
def test_a_problem_shows_its_answers_side_by_side_by_keyboard(opened: Browser) -> None:
    for key in ("ArrowDown", "ArrowDown", "Enter"):
        opened.press(key)
    assert opened.value("detail.querySelector('h2').textContent") == "id1"
    articles = "[...detail.querySelectorAll('article')]"
    marked = opened.value(
        f"{articles}.map(a => [...a.querySelectorAll('mark')].map(m => m.textContent))"
    )
    assert marked[0] == []
    assert [word for word in marked[1] if word.strip()] == ["was", "zebra1"]
    assert "wrong" not in opened.value(f"{articles}[0].querySelector('p span').className")
    assert "✗ answer 2" in opened.value(f"{articles}[1].textContent")
    assert opened.value(f"{articles}[1].querySelectorAll('.tokens i').length") == 3
    course = f"[...{articles}[1].querySelectorAll('.course td')].map(cell => cell.textContent)"
    assert opened.value(course) == ["1", "2", "-9.00", "2", "1", "-6.00"]
    opened.press("Escape")
    assert not opened.value("detail.open")
    opened.press("/")
    assert opened.value("document.activeElement.id") == "text"
    assert opened.complaints() == []


@pytest.mark.browser
def test_signs_have_words_for_who_does_not_see_them(opened: Browser) -> None:
    """All as `axe-core` finds: landmarks, names of signs, bars and the dialog."""
    opened.value("rows[2].made.click()")
    said = "[...rows[2].made.querySelectorAll('[role=img]')].map(sign => sign.ariaLabel)"
    assert opened.value(said) == ["right", "right, truncated"]
    assert opened.value("document.getElementById(detail.getAttribute('aria-labelledby')).tagName")
    assert (
        opened.value("document.querySelectorAll('body > :not(main, script, noscript)').length") == 0
    )
    unnamed = "[...document.querySelectorAll('.tokens, .right, .wrong')].filter(s => !s.ariaLabel)"
    assert opened.value(f"{unnamed}.length") == 0


@pytest.mark.browser
def test_a_narrow_screen_and_a_dark_one(opened: Browser) -> None:
    opened.call(
        "Emulation.setDeviceMetricsOverride",
        width=360,
        height=640,
        deviceScaleFactor=1,
        mobile=True,
    )
    dark = [{"name": "prefers-color-scheme", "value": "dark"}]
    opened.call("Emulation.setEmulatedMedia", features=dark)
    opened.value("rows[1].made.click()")
    try:
        assert opened.value("document.documentElement.scrollWidth") <= 360
        tops = opened.value("[...detail.querySelectorAll('article')].map(a => a.offsetTop)")
        assert tops[0] < tops[1]
        assert (
            opened.value("getComputedStyle(rows[1].made.querySelector('.wrong')).color")
            == "rgb(240, 160, 75)"
        )
    finally:
        opened.call("Emulation.clearDeviceMetricsOverride")
        opened.call("Emulation.setEmulatedMedia", features=[])


@pytest.mark.browser
def test_a_whole_study_loads_in_under_two_seconds(browser: Browser, tmp_path: Path) -> None:
    problems = [Problem(f"Problem {n}", "1", f"id{n}", "s", 1 + n % 5) for n in range(500)]
    reasoning = "Then we add the two numbers and see what remains. " * 40
    answers = {
        name: [
            graded(p, name, f"{reasoning} {name}", correct=n % 2 == 0)
            for n, p in enumerate(problems)
        ]
        for name in CONDITIONS
    }
    browser.open(page(problems, answers, tmp_path / "page.html"))
    assert browser.value(COUNT) == 500
    timing = "performance.getEntriesByType('navigation')[0].loadEventEnd"
    assert browser.value(timing) < 2000
