"""A job starts as fast as its imports allow, and torch is told of large pages."""

import gc
import os

import pytest

from powerblend.cli import main

VARIABLE = "THP_MEM_ALLOC_ENABLE"


@pytest.mark.parametrize(("before", "after"), [(None, "1"), ("0", "0")])
def test_large_pages_are_asked_for_unless_the_user_says_otherwise(
    before: str | None, after: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, "")  # so that it is put back
    monkeypatch.delenv(VARIABLE)
    if before is not None:
        monkeypatch.setenv(VARIABLE, before)
    with pytest.raises(SystemExit):
        main(["schema", "--help"])
    assert os.environ[VARIABLE] == after


def test_garbage_is_collected_once_a_job_is_imported() -> None:
    frozen = gc.get_freeze_count()
    with pytest.raises(SystemExit):
        main(["schema", "--help"])
    assert gc.isenabled()
    assert gc.get_freeze_count() > frozen
