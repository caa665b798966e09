"""One thread that does not spin, before torch is imported: tests share their cores."""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OMP_NUM_THREADS", "1")

from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel

import tiny
from powerblend import Model, load_model

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def hf() -> PreTrainedModel:
    return tiny.transformer()


@pytest.fixture(scope="session")
def model(hf: PreTrainedModel) -> Model:
    return load_model(hf)


@pytest.fixture(scope="session")
def embedded() -> Path:
    """The directory of the embedded model, wherever this machine has it."""
    usual = Path(__file__).parents[1] / "results" / "models" / "smollm2-135m-instruct"
    path = Path(os.environ.get("POWERBLEND_TEST_MODEL", usual))
    if not (path / "config.json").exists():
        pytest.skip(f"no embedded model in {path}")
    return path
