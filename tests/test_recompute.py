"""The numbers in a report's tables are those of the records, by a computation of its own."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import recompute
from powerblend.analysis.grades import read_grades
from powerblend.analysis.summary import summarise
from powerblend.infrastructure.files import write_jsonl
from test_report import report
from test_statistics import BASE, answer, study

RNG = np.random.default_rng(5)
BLOCKS = BASE["decoding"]["blocks"]


def records_of(condition: str, samples: int) -> list[dict[str, Any]]:
    chain = "ps" in condition
    made = []
    for problem in range(40):
        for sample in range(samples):
            right = bool(RNG.random() < 0.3 + 0.4 * (problem % 2))
            accepted = RNG.integers(0, 3, BLOCKS).tolist() if chain else []
            fields = {
                "problem_id": f"p/{problem}", "sample": sample, "correct": right,
                "second": bool(right ^ (RNG.random() < 0.1)), "n_tokens": int(RNG.integers(5, 900)),
                "decoded_tokens": int(RNG.integers(900, 4000)), "seconds": float(RNG.random()),
                "finish": "eos" if RNG.random() < 0.9 else "length",
                "answer": "1" if right or RNG.random() < 0.8 else None,
                "level": problem % 5 + 1,
                "subject": "Counting & Probability" if problem % 3 else "Algebra",
                "accepted_by_block": accepted, "accepted": sum(accepted),
                "moves": 2 * len(accepted), "unchanged": len(accepted) // 2,
                "log_t_by_block": (-100 * RNG.random(len(accepted))).tolist(),
            }  # fmt: skip
            made.append(answer(**fields))
    return made


@pytest.mark.parametrize("samples", [1, 3])
def test_every_number_is_that_of_the_records(tmp_path: Path, samples: int) -> None:
    files = {}
    for name in BASE["use"]:
        files[name] = [tmp_path / f"{name}-0123456789" / "shard.jsonl"]
        files[name][0].parent.mkdir()
        write_jsonl(files[name][0], records_of(name, samples))
    configured = study()
    text = report(summarise(read_grades(files), configured.samplers(), configured.contrasts))
    records = recompute.read_grades(tmp_path, BASE["use"])
    assert list(recompute.differences(text, records, BASE)) == []
    # A number that is not the records' is seen.
    table = recompute.tables(text)["4.1"][0]
    wrong = text.replace(f"| {table[1][3]} |", "| 99.9% |", 1)
    assert len(list(recompute.differences(wrong, records, BASE))) == 1


def test_every_number_of_the_demo_is_that_of_its_records() -> None:
    """Where the demo has run."""
    root = Path(__file__).parents[1]
    configs = [*(root / "results" / "demo").glob("config-*.json")]
    grades = [*(root / "results" / "demo" / "grade").glob("*")]
    if len(configs) != 1 or len(grades) != 1:
        pytest.skip("the demo has not run here, or with several settings")
    settings = json.loads(configs[0].read_text())
    records = recompute.read_grades(grades[0], settings["use"])
    text = (root / "report" / "demo.md").read_text()
    (probe,) = (root / "results" / "demo" / "probe").glob("probe-*.json")
    measured = json.loads(probe.read_text())
    assert list(recompute.differences(text, records, settings, measured)) == []
