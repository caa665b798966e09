"""A job starts as fast as its imports allow, with torch told how to wait."""

import gc
import os

import pytest

from powerblend.cli import TORCH_SETTINGS, main


@pytest.mark.parametrize("name", TORCH_SETTINGS)
@pytest.mark.parametrize("own", [None, "0"])
def test_torch_is_told_unless_the_user_has(
    name: str, own: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, own or "")  # so that it is put back
    if own is None:
        monkeypatch.delenv(name)
    with pytest.raises(SystemExit):
        main(["schema", "--help"])
    assert os.environ[name] == (own or TORCH_SETTINGS[name])


def test_garbage_is_collected_once_a_job_is_imported() -> None:
    frozen = gc.get_freeze_count()
    with pytest.raises(SystemExit):
        main(["schema", "--help"])
    assert gc.isenabled()
    assert gc.get_freeze_count() > frozen
