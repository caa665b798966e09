"""The numbers in a report's tables are those of the records, by a computation of its own."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import recompute
import recompute_prose
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
    for problem in range(24):
        for sample in range(samples):
            right = bool(RNG.random() < 0.3 + 0.4 * (problem % 2))
            accepted = RNG.integers(0, 3, BLOCKS).tolist() if chain else []
            fields = {
                "problem_id": f"p/{problem}", "sample": sample, "correct": right,
                "second": bool(right ^ (RNG.random() < 0.1)), "n_tokens": int(RNG.integers(5, 900)),
                "decoded_tokens": int(RNG.integers(900, 4000)), "seconds": float(RNG.random()),
                "prompt_tokens": 60 + problem,
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
    records = recompute.read_grades(tmp_path, {name: f"{name}-0123456789" for name in BASE["use"]})
    assert list(recompute.differences(text, records, BASE)) == []
    # A number that is not the records' is seen.
    table = recompute.tables(text)["4.1"][0]
    wrong = text.replace(f"| {table[1][3]} |", "| 99.9% |", 1)
    assert len(list(recompute.differences(wrong, records, BASE))) == 1

    def unexplained(text: str) -> list[str]:
        found = recompute_prose.unexplained(text, records, BASE, None, None)
        return [line for line in found if line.startswith(("opening", "4.3", "4.4", "4.5"))]

    assert unexplained(text) == []
    told = re.search(r"^(?:Of|None of the) (\d+) contrasts tested", text, re.MULTILINE)
    assert told is not None
    assert (
        "nothing gives 777" in unexplained(text.replace(told[1] + " contrasts", "777 contrasts"))[0]
    )


def test_every_number_of_the_demo_is_that_of_its_records() -> None:
    """Where the demo has run."""
    root = Path(__file__).parents[1]
    report, results = root / "report" / "demo.md", root / "results" / "demo"
    if any(len([*results.glob(some)]) != 1 for some in ("config-*.json", "grade/*")):
        pytest.skip("the demo has not run here, or with several settings")
    assert recompute.all_differences(report, results) == []
