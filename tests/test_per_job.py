"""Several shards in one job: the records of one shard per job, and nothing is done twice."""

import logging
from pathlib import Path
from typing import Any

import pytest
import yaml

import tiny
from equality import nearly, untimed
from powerblend.cli import main
from powerblend.infrastructure.files import read_jsonl, write_json
from powerblend.study.layout import Layout
from powerblend.study.problems import write_problems
from powerblend.study.schema import parse_study
from powerblend.vocabulary.problem import Problem
from small_study import ROOT, merged

SHARDS = ["shard-0-of-3", "shard-1-of-3", "shard-2-of-3"]
SAMPLES = 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cell's spec, its model, and seven problems."""
    folder = tmp_path_factory.mktemp("per_job")
    tiny.save(folder / "model")
    write_problems(
        folder / "problems.jsonl",
        [Problem(f"What is {n} + 1?", str(n + 1), f"sums/{n}") for n in range(7)],
    )
    changes = {
        "model": {"name": str(folder / "model"), "revision": None, "dtype": "float64"},
        "dataset": {"name": str(folder / "problems.jsonl"), "revision": None},
        "decoding": {"max_new_tokens": 8, "blocks": 2},
        "use": ["ps"],
        "probe": {"enabled": False},
    }
    study = parse_study(merged(yaml.safe_load((ROOT / "config.yaml").read_text()), changes))
    write_json(folder / "spec.json", Layout(study).cells["ps"].spec.model_dump(mode="json"))
    return folder


def generate(folder: Path, where: Path, shards: list[str], samples: int = SAMPLES) -> None:
    """One job that does these shards, with its stores and outputs in ``where``."""
    stores, outputs = ([str(where / k / f"{s}.jsonl") for s in shards] for k in ("chains", "out"))
    options = ["--spec", str(folder / "spec.json"), "--problems", str(folder / "problems.jsonl")]
    options += ["--rows", "3", "--samples", str(samples), "--shards", *shards]
    assert main(["generate", *options, "--store", *stores, "--output", *outputs]) == 0


def records(where: Path) -> dict[str, list[dict[str, Any]]]:
    return {
        name: [untimed(record) for record in read_jsonl(where / f"out/{name}.jsonl")]
        for name in SHARDS
    }


def test_one_job_for_all_shards_gives_the_records_of_one_for_each(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    for shard in SHARDS:
        generate(folder, tmp_path / "single", [shard])
    generate(folder, tmp_path / "grouped", SHARDS)
    single, grouped = records(tmp_path / "single"), records(tmp_path / "grouped")
    assert grouped == {shard: nearly(single[shard]) for shard in SHARDS}
    assert [len(grouped[shard]) for shard in SHARDS] == [6, 4, 4]
    assert grouped[SHARDS[1]][0]["problem_id"] == "sums/1"
    for shard in SHARDS:
        keys = {str(r["key"]) for r in read_jsonl(tmp_path / f"grouped/chains/{shard}.jsonl")}
        assert keys == {str(r["key"]) for r in single[shard]}

    caplog.clear()
    generate(folder, tmp_path / "grouped", SHARDS[1:])
    assert "8 of 8 chains are in the store" in caplog.messages
    assert records(tmp_path / "grouped") == grouped


@pytest.mark.parametrize(
    ("shards", "outputs", "sentence"),
    [
        (["shard-3-of-3"], 1, "--shards: 'shard-3-of-3' is no shard; give names as shard-0-of-40"),
        (["first"], 1, "--shards: 'first' is no shard; give names as shard-0-of-40"),
        (SHARDS, 2, "--output: 2 paths for 3 shards; give one for each of --shards"),
    ],
)
def test_what_is_no_shard_is_said(
    folder: Path, caplog: pytest.LogCaptureFixture, shards: list[str], outputs: int, sentence: str
) -> None:
    paths = [f"{folder}/{n}" for n in range(len(shards))]
    options = ["--spec", f"{folder}/spec.json", "--problems", f"{folder}/problems.jsonl"]
    options += ["--shards", *shards, "--store", *paths, "--output", *paths[:outputs]]
    assert main(["generate", *options]) == 1
    assert f"error: {sentence}" in caplog.text
