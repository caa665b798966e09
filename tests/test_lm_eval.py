"""lm-evaluation-harness asks the server, by the commands of the documentation."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from powerblend.infrastructure.files import read_jsonl
from small_study import ROOT, environment

PORT = "8127"


@pytest.mark.package
def test_the_harness_is_answered(embedded: Path, tmp_path: Path) -> None:
    program = shutil.which("lm_eval") or shutil.which("lm_eval", path=Path(sys.executable).parent)
    if program is None:
        pytest.skip("no lm_eval: make test-package")
    page = (ROOT / "docs" / "server.md").read_text(encoding="utf-8")
    block = page.split("## lm-evaluation-harness")[1].split("```")[1]
    serve, evaluate = block.replace("\\\n", " ").strip().splitlines()
    serve = serve.replace("results/models/smollm2-135m-instruct", str(embedded))
    serve = serve.replace("powerblend ", f"{sys.executable} -m powerblend ")
    evaluate = evaluate.replace("lm_eval run", f"{program} run").replace(":8000", f":{PORT}")
    with subprocess.Popen(
        [*serve.split(), "--port", PORT],
        cwd=ROOT,
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stderr is not None
        for line in server.stderr:
            if f"at http://127.0.0.1:{PORT}/v1" in line:
                break
        try:
            done = subprocess.run(
                ["bash", "-c", f"{evaluate} --log_samples --output_path {tmp_path}"],
                cwd=ROOT,
                env=environment(),
                capture_output=True,
                text=True,
            )
        finally:
            server.terminate()
    assert done.returncode == 0, done.stderr[-2000:]
    assert "exact_match" in done.stdout
    (samples,) = tmp_path.rglob("samples_*.jsonl")
    answers = read_jsonl(samples)
    assert len(answers) == 4
    assert all(answer["resps"][0][0].strip() for answer in answers)
    (results,) = tmp_path.rglob("results_*.json")
    found = json.loads(results.read_text())["results"]["powerblend_basic"]
    right = sum(answer["exact_match"] for answer in answers)
    assert found["exact_match,boxed"] == pytest.approx(right / 4)
