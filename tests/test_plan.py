"""What `powerblend plan` says, against what is known otherwise."""

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM

import tiny
from powerblend import load_model
from powerblend.cli import main
from powerblend.infrastructure.files import write_json, write_jsonl
from powerblend.jobs.plan import Machine, _prompt, plan_of
from powerblend.samplers import parse_sampler
from powerblend.study.costs import (
    StepTimes,
    decoding_seconds,
    job_memory_gb,
    named_device,
    own_device,
    passes_per_token,
    read_step_times,
    row_bytes,
    weights_gb,
)
from powerblend.study.expected import positions_per_token
from powerblend.study.layout import Layout
from small_study import ROOT, parsed, write_study

DEVICE = StepTimes(
    device="a", kind="cpu", start_seconds=1, weights_gb=1.0, milliseconds={1: 100, 3: 200}
)


def test_steps_between_and_beyond_what_was_measured() -> None:
    assert DEVICE.seconds(2, 1.0) == pytest.approx(0.15)
    assert DEVICE.seconds(6, 1.0) == pytest.approx(0.4)
    assert DEVICE.seconds(1, 2.0) == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("machine", "taken"),
    [
        ("AMD EPYC with AVX-512", "AMD EPYC with AVX-512"),
        ("AMD EPYC 7763 64-Core Processor with AVX2", "AMD EPYC with AVX2"),
        ("Intel(R) Xeon(R) Processor @ 2.10GHz with AVX-512", "Intel(R) Xeon(R) with AVX-512"),
        ("Intel(R) Core(TM) i7-8700 with AVX2", "AMD EPYC with AVX2"),
        ("aarch64", "AMD EPYC with AVX2"),
    ],
)
def test_a_machine_that_was_not_measured_is_taken_for_the_one_most_like_it(
    machine: str, taken: str
) -> None:
    names = ["AMD EPYC with AVX2", "AMD EPYC with AVX-512", "Intel(R) Xeon(R) with AVX-512"]
    devices = [DEVICE.model_copy(update={"device": name}) for name in names]
    gpu = StepTimes(
        device="aarch64", kind="gpu", start_seconds=1, weights_gb=1.0, milliseconds={1: 1}
    )
    assert own_device([gpu, *devices], "cpu", machine).device == taken


def test_a_jobs_time_is_that_of_its_steps_one_by_one() -> None:
    decoded, rows = [5, 1, 4, 2, 2, 7], 3
    live, waiting, seconds = [], list(decoded), 0.0
    while live or waiting:
        while waiting and len(live) < rows:
            live.append(waiting.pop(0))
        seconds += DEVICE.seconds(len(live), 1.0)
        live = [left - 1 for left in live if left > 1]
    assert decoding_seconds(decoded, rows, DEVICE, 1.0) == pytest.approx(seconds)


def test_memory_is_that_of_the_model(tmp_path: Path) -> None:
    folder = tiny.save(tmp_path / "model")
    model = load_model(folder, dtype="float64")
    config = json.loads((Path(folder) / "config.json").read_text())
    assert row_bytes(config, 100, 8) == model.row_bytes(100)
    parts = dict(AutoModelForCausalLM.from_pretrained(folder).named_parameters())
    weights = sum(part.numel() for name, part in parts.items() if "norm" not in name)
    assert weights_gb(config, 8) == pytest.approx(weights * 8 / 1e9)


def test_a_chain_decodes_more_than_a_draw() -> None:
    shared = {"max_new_tokens": 64, "alpha": 4.0, "blocks": 8, "steps": 2}
    assert positions_per_token(parse_sampler({"sampler": "greedy", "max_new_tokens": 64}), 30) == 1
    one = positions_per_token(parse_sampler({"sampler": "power", **shared}), 27)
    four = positions_per_token(parse_sampler({"sampler": "power", "tries": 4, **shared}), 27)
    assert 1.5 < one < four


@pytest.mark.parametrize(
    ("settings", "measured"),
    [
        ({"alpha": 2.0}, 2.78),
        ({"alpha": 4.0}, 1.89),
        ({"alpha": 8.0}, 1.29),
        ({"alpha": 2.0, "blend": {"source": "layer", "layer": 27, "beta": 0.02}}, 3.75),
        ({"alpha": 4.0, "blend": {"source": "layer", "layer": 27, "beta": 0.02}}, 2.52),
    ],
)
def test_a_chain_decodes_as_much_as_was_measured(settings: dict[str, Any], measured: float) -> None:
    """Of benchmarks/work.py, whose answers have 27 tokens."""
    shared = {"sampler": "power", "max_new_tokens": 64, "blocks": 8, "steps": 2}
    planned = positions_per_token(parse_sampler(shared | settings), 27)
    assert planned == pytest.approx(measured, rel=0.3)


def test_few_rows_guess_more_and_chains_the_most() -> None:
    assert passes_per_token(1, moves=True) < passes_per_token(1, moves=False) < 0.6
    assert 0.9 < passes_per_token(52, moves=False) <= passes_per_token(64, moves=False) <= 1
    assert passes_per_token(1, moves=True) < passes_per_token(8, moves=True)
    assert passes_per_token(8, moves=True) < passes_per_token(52, moves=True)


def test_a_jobs_memory_is_that_of_its_weights_or_of_its_rows() -> None:
    assert job_memory_gb(1.0, 0.1) == job_memory_gb(1.0, 0.2)
    assert job_memory_gb(1.0, 10.0) == pytest.approx(job_memory_gb(1.0, 11.0) - 1.0)


def test_a_plan_begins_with_what_is_assumed_and_goes_on_with_what_is_known(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    study = write_study(tmp_path, use=["greedy", "ps"])
    command = ["plan", "--configfile", str(study), "--device", "epyc"]
    assert main(command) == 0
    shown = capsys.readouterr().out
    assert "6 problems × 1 answers × 2 conditions, in 4 generate jobs" in shown
    assert "assumed: half the longest answer" in shown
    assert "device: AMD EPYC" in shown

    cell = Layout(parsed(study)).cells["ps"]
    results = tmp_path / "results" / "earlier"
    write_json(results / "specs" / f"{cell.name}.json", cell.spec.model_dump(mode="json"))
    record = {"n_tokens": 5, "decoded_tokens": 11, "passes": 8, "prompt_tokens": 9}
    write_jsonl(results / "generate" / cell.name / "shard-0-of-2x1.jsonl", [record, record])
    assert main(command) == 0
    lines = capsys.readouterr().out.splitlines()
    (line,) = [line.split() for line in lines if line.startswith("ps ")]
    assert line[1:5] == ["6", "5.0", "11.0", "8.0"]
    assert "its own records" in " ".join(line)
    assert any("lengths of this model's answers" in line for line in lines)


@pytest.mark.parametrize("device", ["epyc", "h100"])
def test_conditions_that_share_a_process_take_less(
    device: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a CPU: they start, read prompts and compute known strings once."""
    monkeypatch.chdir(tmp_path)
    study = parsed(write_study(tmp_path, use=["greedy", "temp"]))
    steps = named_device(read_step_times(ROOT / "resources" / "step_times.yaml"), device)
    first, later = plan_of(study, Layout(study), steps).conditions
    assert first.decoded == later.decoded
    assert (later.seconds < first.seconds / 2) == (device == "epyc")


@pytest.mark.parametrize(("kind", "own"), [("cpu", 42), ("gpu", 242)])
def test_what_all_prompts_share_is_in_memory_once(kind: str, own: int) -> None:
    """But on a GPU, where every row has a copy if that is short."""
    problems = [["x" * 100], ["x" * 40]]  # 0.3 tokens a character, and a chat template's 12
    prompt = _prompt(242, problems, kind)
    assert prompt == (own, 242 - own)
    machine = Machine(DEVICE, 1.0, 104, prompt, row_gb=0.01, shared_gb=0.5)
    assert machine.keys_gb == pytest.approx(104 * 0.01 + 0.5)
    assert _prompt(0, problems, kind) == (42, 0)


def test_a_planned_row_has_its_own_part_of_a_prompt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    study = parsed(write_study(tmp_path, use=["greedy"]))
    layout = Layout(study)
    cell = layout.cells["greedy"]
    specs = layout.results / "specs"
    write_json(specs / f"{cell.name}.json", cell.spec.model_dump(mode="json"))
    machines = []
    for tokens in (200, 500):
        record = {"n_tokens": 5, "decoded_tokens": 5, "passes": 5, "prompt_tokens": tokens}
        write_jsonl(layout.results / "generate" / cell.name / "shard-0-of-2x1.jsonl", [record])
        machines.append(plan_of(study, layout, DEVICE).machine)
    short, long = machines
    assert short.row_gb == long.row_gb
    assert long.prompt.shared - short.prompt.shared == 300
    assert long.shared_gb == pytest.approx(
        short.shared_gb * long.prompt.shared / short.prompt.shared
    )


def test_what_cannot_be_planned_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    study = write_study(tmp_path)
    assert main(["plan", "--configfile", str(study), "--device", "abacus"]) == 1
    assert "--device: nothing is known of 'abacus'; known are AMD EPYC" in caplog.text
    assert main(["plan", "--configfile", str(tmp_path / "none.yaml")]) == 1
    assert "none.yaml: No such file" in caplog.text


def test_the_shipped_step_times_can_be_read() -> None:
    kinds = {device.kind for device in read_step_times(ROOT / "resources" / "step_times.yaml")}
    assert kinds == {"cpu", "gpu"}
