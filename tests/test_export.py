"""A study's answers as a dataset: it loads back with `datasets`, and is graded again."""

import json
import logging
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import small_study
from powerblend.cli import main
from powerblend.infrastructure.files import write_json, write_jsonl
from powerblend.study.layout import Layout
from powerblend.vocabulary.records import AnswerRecord, GradeRecord
from small_study import environment

LADDER = {"sampler": "power", "ladder": [1.0, 2.0]}
REPLICA = {"tokens": [4], "text": "4", "log_p": -0.5, "finish": "eos", "alpha": 1.0, "swaps": 2}


@pytest.fixture
def ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    """What a study leaves that has run, but for the model's part in it."""
    changes: dict[str, Any] = {
        "title": "A study: 'quoted'",
        "conditions": {"ladder": LADDER},
        "use": ["greedy", "ladder"],
    }
    path = small_study.write_study(tmp_path, **changes)
    base = yaml.safe_load((small_study.ROOT / "config.yaml").read_text())
    merged = small_study.merged(base, yaml.safe_load(path.read_text()))
    monkeypatch.chdir(tmp_path)
    study = small_study.parsed(path)
    layout = Layout(study)
    write_json(layout.config, merged)
    problems = small_study.problems()
    write_jsonl(layout.problems, problems)
    for job, text in layout.job_specs.items():
        write_json(job, json.loads(text))
    for name, cell in layout.cells.items():
        files = zip(layout.generated(cell), layout.graded(cell), strict=True)
        for shard, (answered, judged) in enumerate(files):
            rows = [_row(name, problem) for problem in problems[shard::2]]
            write_jsonl(answered, [answer.model_dump() for answer, _ in rows])
            write_jsonl(judged, [grade.model_dump() for _, grade in rows])
    return layout


def _row(condition: str, problem: dict[str, Any]) -> tuple[AnswerRecord, GradeRecord]:
    right = problem["level"] % 2 == 0
    answer = problem["answer"] if right else "0"
    counts: dict[str, Any] = {
        **{"problem_id": problem["unique_id"], "sample": 0, "n_tokens": 3, "finish": "eos"},
        **{"decoded_tokens": 9, "moves": 4, "accepted": 3, "unchanged": 0, "early_rejected": 0},
        **{"log_p": -1.5, "log_t": -6.0, "accepted_by_block": [2, 1], "seconds": 0.1},
        **{"log_t_by_block": [-9.0, -6.0]},
    }
    replicas = {"replicas": [REPLICA]} if condition == "ladder" else {}
    record = AnswerRecord(
        **counts,
        **replicas,
        condition="an older name",
        completion=rf"It is \boxed{{{answer}}}.",
        tokens=[1, 2, 3],
        key="k",
    )
    described = {name: problem[name] for name in ("subject", "level")}
    verdict: dict[str, Any] = {"correct": right, "second": right, "reason": None, "rule": None}
    return record, GradeRecord(
        **counts, **described, **verdict, answer=answer, gold=problem["answer"]
    )


def test_a_study_loads_back_and_is_graded_again(
    ran: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    assert main(["export", "small", "--license", "cc0-1.0"]) == 0
    folder = tmp_path / "results" / "small" / "export"
    card = (folder / "README.md").read_text()
    head = yaml.safe_load(card.split("---")[1])
    assert head["license"] == "cc0-1.0"
    assert head["pretty_name"] == "A study: 'quoted'"
    assert "| `greedy` | argmax p | 6 | 33.3% |" in card
    assert json.loads((folder / "config.json").read_text())["study"] == "small"
    assert json.loads((folder / "specs" / "ladder.json").read_text())["decoding"]["alpha"] == 4.0
    # The card's own lines load it, and grade it again, as a file that is run.
    lines = [f"FOLDER = {str(folder)!r}", *re.findall("```python\n(.*?)```", card, re.DOTALL)]
    lines += ["    print([verdict.correct for verdict in verdicts])"]
    (tmp_path / "again.py").write_text("\n".join(lines))
    command = [sys.executable, str(tmp_path / "again.py")]
    cache = environment() | {"HF_DATASETS_CACHE": str(tmp_path / "cache")}
    again = subprocess.run(command, env=cache, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    answers = datasets.load_dataset(str(folder), split="train")
    assert len(answers) == 2 * len(small_study.problems())
    assert again.stdout == f"{list(answers['correct'])}\n"
    assert set(answers["condition"]) == {"greedy", "ladder"}
    row = next(row for row in answers if row["condition"] == "ladder")
    assert row["replicas"][0]["alpha"] == 1.0
    assert row["problem"] == "What is 0 + 1?"
    assert row["beta"] is None


def test_what_has_not_run_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    with caplog.at_level(logging.ERROR):
        assert main(["export", "other"]) == 1
    assert "there is no results/other/config-*.json" in caplog.text
