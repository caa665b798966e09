"""What a local model's directory holds is what decides, and it is read once."""

import os
from pathlib import Path

import pytest

import tiny
from powerblend.infrastructure import contents
from powerblend.infrastructure.contents import content_of
from powerblend.jobs.models import load
from powerblend.study.cells import local_content
from powerblend.study.prompts import read_prompt
from powerblend.study.schema import parse_study
from powerblend.study.sweep import Sweep
from powerblend.vocabulary.specs import KnownModel
from small_study import parsed, write_study


@pytest.fixture
def model(tmp_path: Path) -> Path:
    directory = tmp_path / "model"
    directory.mkdir()
    (directory / "model.safetensors").write_bytes(b"weights")
    (directory / "config.json").write_text("{}")
    return directory


def test_every_file_that_decides_is_in_the_digest(model: Path, tmp_path: Path) -> None:
    memory = tmp_path / "contents.json"
    digests = {content_of(model, memory)}
    for name in ("model.safetensors", "chat_template.jinja", "tokenizer.json", "part/config.json"):
        (model / name).parent.mkdir(exist_ok=True)
        (model / name).write_text(f"another {name}")
        digests.add(content_of(model, memory))
    (model / "config.json").rename(model / "generation_config.json")
    digests.add(content_of(model, memory))
    assert len(digests) == 6
    for name in ("README.md", ".cache.json", "train.log"):
        (model / name).write_text("decides nothing")
    assert content_of(model, memory) in digests


def test_files_are_read_once(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory, read = tmp_path / "contents.json", []
    digest = contents._sha256
    monkeypatch.setattr(contents, "_sha256", lambda path: read.append(path.name) or digest(path))
    first = content_of(model, memory)
    assert content_of(model, memory) == first
    assert sorted(read) == ["config.json", "model.safetensors"]
    weights = model / "model.safetensors"
    state = weights.stat()
    weights.write_bytes(b"WEIGHTS")
    os.utime(weights, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert content_of(model, memory) != first, "of the same size, with the same time"
    assert len(read) == 3


@pytest.mark.parametrize("damage", ["", "[1]", "{"])
def test_a_damaged_memory_costs_time_only(model: Path, tmp_path: Path, damage: str) -> None:
    memory = tmp_path / "contents.json"
    first = content_of(model, memory)
    memory.write_text(damage)
    assert content_of(model, memory) == first


def test_a_model_that_changed_after_the_plan_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tiny.save(tmp_path / "model")
    planned = KnownModel(name="model", dtype="float64", content=local_content("model"))
    template = tmp_path / "model" / "chat_template.jinja"
    template.write_text(template.read_text() + " ")
    with pytest.raises(ValueError, match="the files of model have changed since this job was"):
        load(planned, [], path=None, draft=None, device="cpu")


def test_a_study_of_many_cells_reads_its_files_as_often_as_one_of_few(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from powerblend.study import cells
    from powerblend.study.layout import Layout

    monkeypatch.chdir(tmp_path)
    read: list[object] = []
    monkeypatch.setattr(cells, "read_prompt", lambda p: read.append(p) or read_prompt(p))
    counts = []
    few = parsed(write_study(tmp_path))
    over = {"alpha": [1 + n / 10 for n in range(20)], "steps": [1, 2, 3]}
    sweep = Sweep(conditions=["ps"], over=over).model_dump()
    many = parse_study({**few.model_dump(mode="json"), "sweep": sweep})
    for study in (few, many):
        read.clear()
        counts.append((len(Layout(study).jobs), len(read)))
    assert counts[1][0] > counts[0][0] + 50
    assert counts[1][1] == counts[0][1]
