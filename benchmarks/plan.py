"""What `powerblend plan` says of studies, against what then happened.

The demo is planned as if nothing were known, and held against its records and its jobs' times,
where it has been run. Small studies of other shapes are planned from the lengths of the answers
before them, then generated and graded, one after another. Seconds are the processor's, but for the
demo those of a clock: Snakemake looks at a job's processor every half minute and misses its end.
"""

import json
import os
import resource
import sys
import tempfile
from contextlib import chdir
from pathlib import Path
from subprocess import Popen
from typing import Any, NamedTuple

import pandas as pd
import yaml
from bench import ROOT, demo_model, write_table

from powerblend.infrastructure.files import read_jsonl
from powerblend.jobs.plan import Plan, merged_configuration, plan_of
from powerblend.report.run import cpu_name
from powerblend.study.costs import own_device, read_step_times
from powerblend.study.layout import Layout
from powerblend.study.schema import Study, parse_study

DEMO = ROOT / "resources" / "studies" / "demo.yaml"
FEW: dict[str, Any] = {"dataset": {"name": "few.jsonl"}}
STUDIES: dict[str, dict[str, Any]] = {
    "few": {
        "use": ["greedy", "blend_ps"],
        "decoding": {"max_new_tokens": 32, "blocks": 4, "steps": 1},
    },
    "two_samples": {
        "samples": 2,
        "use": ["temp", "ps"],
        "decoding": {"max_new_tokens": 32, "blocks": 4},
    },
    "long": {"use": ["ps"], "decoding": {"max_new_tokens": 96, "blocks": 8, "alpha": 2.0}},
}
PROBLEMS = 8


class Taken(NamedTuple):
    """What generation was planned to take, or took: of all answers; memory is of a job."""

    decoded: float
    passes: float
    seconds: float
    memory_gb: float
    disk_mb: float


def main() -> None:
    """Measure and write the table."""
    model, demo = demo_model().parent, ROOT / "results" / "demo"
    # A study's files are where it is run.
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        rows: list[dict[str, Any]] = []
        Path("results").mkdir()
        Path("results/models").symlink_to(model)
        if (demo / "times").is_dir():
            planned, study = planned_of()
            rows += compared("demo", planned, taken_by_demo(Layout(study, ROOT)))
            Path("results/demo").symlink_to(demo)
        problems = (ROOT / "resources/problems/basic.jsonl").read_text().splitlines(keepends=True)
        Path("few.jsonl").write_text("".join(problems[:: len(problems) // PROBLEMS][:PROBLEMS]))
        for name, changes in STUDIES.items():
            Path(f"{name}.yaml").write_text(yaml.safe_dump(FEW | {"study": name} | changes))
            planned, study = planned_of(Path(f"{name}.yaml"))
            rows += compared(name, planned, generated(study))
    write_table(
        "plan",
        "What studies were planned to take, and what they took",
        rows,
        "Of all generate jobs of a study together; memory is the largest of one job. The demo was "
        "planned as if nothing were known, the others with the lengths of the answers before "
        "them. Seconds are the processor's, for the demo of a clock.",
    )


def planned_of(*files: Path) -> tuple[Taken, Study]:
    """What a study that extends the demo is planned to take here."""
    study = parse_study(merged_configuration([ROOT / "config.yaml", DEMO, *files]))
    devices = read_step_times(ROOT / "resources" / "step_times.yaml")
    plan: Plan = plan_of(study, Layout(study), own_device(devices, "cpu", cpu_name()))
    conditions = plan.conditions
    return Taken(
        decoded=sum(one.decoded for one in conditions),
        passes=sum(one.answers * one.passes for one in conditions),
        seconds=sum(one.seconds for one in conditions),
        memory_gb=plan.memory_gb or 0.0,
        disk_mb=sum(one.disk for one in conditions) / 1e6,
    ), study


def generated(study: Study) -> Taken:
    """Generate and grade a study, and see what that takes."""
    layout = Layout(study)
    merged = json.dumps(study.model_dump(mode="json", exclude_none=True))
    _powerblend("config", "--merged", merged, "--output", layout.config)
    dataset = layout.dataset_spec(layout.problems_dir.name)
    _powerblend("problems", "--spec", dataset, "--output", layout.problems)
    _powerblend("specs", "--config", layout.config)
    seconds, memory = [], []
    cells = list(layout.cells.values())
    for number, cell in enumerate(cells):
        siblings = [layout.spec(other.name) for other in cells[number + 1 :]]
        (records,), (grades,) = layout.generated(cell), layout.graded(cell)
        (shard,) = layout.shards()
        store, rows = layout.chains(cell.name, shard), study.resources.rows
        usage = _powerblend(
            *("generate", "--spec", layout.spec(cell.name), "--problems", layout.problems),
            *("--store", store, "--output", records, "--model", layout.model, "--rows", rows),
            *("--samples", study.samples, "--device", "cpu", "--siblings", *siblings),
        )
        seconds.append(usage.ru_utime + usage.ru_stime)
        memory.append(usage.ru_maxrss * 1024 / 1e9)
        _powerblend(
            *("grade", "--spec", layout.grading_spec, "--problems", layout.problems),
            *("--records", records, "--output", grades),
        )
    return _taken(layout, sum(seconds), max(memory))


def _powerblend(*arguments: object) -> resource.struct_rusage:
    """Run a subcommand."""
    command = [sys.executable, "-m", "powerblend", *map(str, arguments)]
    paths = {"PYTHONPATH": str(ROOT / "workflow"), "OMP_NUM_THREADS": "1"}
    process = Popen(command, env=os.environ | paths)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"failed: {' '.join(command)}")
    return usage


def taken_by_demo(layout: Layout) -> Taken:
    """What the demo's generate jobs took, as its records and its times say."""
    folders = [layout.results / "times" / "generate" / cell.name for cell in layout.cells.values()]
    times = [pd.read_csv(next(folder.glob("*.tsv")), sep="\t") for folder in folders]
    seconds, memory = zip(*((one["s"][0], one["max_rss"][0]) for one in times), strict=True)
    return _taken(layout, sum(seconds), max(memory) * 2**20 / 1e9)


def _taken(layout: Layout, seconds: float, memory_gb: float) -> Taken:
    files = [path for cell in layout.cells.values() for path in layout.generated(cell)]
    records = [record for path in files for record in read_jsonl(path)]
    (shard,) = layout.shards()
    for cell in layout.cells.values():
        files += [*layout.graded(cell), layout.chains(cell.name, shard)]
    return Taken(
        decoded=sum(record["decoded_tokens"] for record in records),
        passes=sum(record["passes"] for record in records),
        seconds=seconds,
        memory_gb=memory_gb,
        disk_mb=sum(path.stat().st_size for path in files) / 1e6,
    )


def compared(study: str, planned: Taken, taken: Taken) -> list[dict[str, Any]]:
    """A row for each quantity."""
    rows = [
        {"study": study, "of": name, "planned": float(p), "taken": float(t), "ratio": float(p / t)}
        for name, p, t in zip(Taken._fields, planned, taken, strict=True)
    ]
    for row in rows:
        print(row, file=sys.stderr, flush=True)
    return rows


if __name__ == "__main__":
    main()
