"""How far jobs are: in plain lines, in their logs and in one place for all."""

import io
import logging
import os
import time
from pathlib import Path

import pytest

from powerblend import cli
from powerblend.infrastructure import progress
from powerblend.infrastructure.progress import Progress, at_work, clock, followed


def write(path: Path, *lines: str, age: float = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"07:40:12 {line}\n" for line in lines))
    os.utime(path, (time.time() - age,) * 2)
    return path


def test_one_place_shows_the_jobs_that_are_at_work(tmp_path: Path) -> None:
    start = time.time() - 60
    write(tmp_path / "draft" / "0123456789.log", "runs on cpu", "48%, 96 of 200 steps, 0:41 left")
    write(tmp_path / "generate" / "ps-1" / "shard-0-of-1x1.log", "12%, 204 of 1664 moves")
    write(tmp_path / "tables.log")
    write(tmp_path / "check.log", "50%", "done in 0:03")
    write(tmp_path / "probe.log", "50%", "error: the disk is full")
    write(tmp_path / "match.log", "50%", "terminated; what was finished is kept")
    write(tmp_path / "earlier.log", "50%", age=90)
    assert at_work([tmp_path], start).splitlines() == [
        "  draft/0123456789              48%, 96 of 200 steps, 0:41 left",
        "  generate/ps-1/shard-0-of-1x1  12%, 204 of 1664 moves",
        "  tables                        begins",
    ]


def test_lines_say_whose_work_it_is_where_it_is_not_the_jobs_own(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0)
    caplog.set_level(logging.INFO)
    Progress(4, "answers", "temp-1: ").at(1, "3 rows busy")
    assert caplog.messages == ["temp-1: 25%, 1 of 4 answers, 0:00 left, 3 rows busy"]


def test_a_job_that_is_silent_for_long_is_shown_no_more(tmp_path: Path) -> None:
    write(tmp_path / "killed.log", "50%", age=progress.SECONDS_OF_SILENCE + 1)
    assert at_work([tmp_path], 0) == ""


def test_a_folder_that_goes_meanwhile_ends_no_showing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("gone", "there"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "job.log").write_text("10:00:00 2 of 3\n")
    scandir = os.scandir

    def without(path: str) -> object:
        if Path(path).name == "gone":
            raise FileNotFoundError(path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", without)
    assert at_work([tmp_path], 0) == "  there/job  2 of 3"


def test_what_is_shown_are_plain_lines_and_none_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "tables.log", "1 of 3")
    looks = []

    def sleep(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) > 3:
            raise StopIteration
        if len(looks) == 3:
            write(tmp_path / "tables.log", "2 of 3")

    monkeypatch.setattr(progress.time, "sleep", sleep)
    shown = io.StringIO()
    with pytest.raises(StopIteration):
        progress._show([tmp_path], 0, shown)
    lines = shown.getvalue().splitlines()
    assert [line for line in lines if "of 3" in line] == ["  tables  1 of 3", "  tables  2 of 3"]
    assert "\r" not in shown.getvalue()
    assert looks == sorted(looks)


def test_progress_says_how_far_and_how_long_still(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    now = 100.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    of_all = Progress(200, "steps")
    for done in range(1, 51):
        now += 1
        of_all.at(done, "3 tokens/s")
    assert caplog.messages == [
        f"{done / 2:.0f}%, {done} of 200 steps, {clock(200 - done)} left, 3 tokens/s"
        for done in (10, 20, 30, 40, 50)
    ]


def test_followed_gives_every_item() -> None:
    assert list(followed("abc", 3, "letters")) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("seconds", "text"), [(-1, "0:00"), (59.6, "1:00"), (101, "1:41"), (3725, "1:02:05")]
)
def test_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text


def test_a_job_says_in_its_log_that_it_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    path = tmp_path / "logs" / "schema.log"
    assert cli.main(["--log", str(path), "schema"]) == 0
    assert path.read_text().split(" ", 1)[1].startswith("done in 0:0")
    assert at_work([tmp_path], 0) == ""
    for handler in root.handlers:
        handler.close()
