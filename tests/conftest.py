"""What tests share. One thread that does not spin: they may be run beside each other."""

import gc
import os
import signal

# A shell has what it starts in the background ignore Ctrl-C, which some tests send.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Before torch is imported, here or in a process that a test starts.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OMP_NUM_THREADS", "1")
# No test asks the hub for anything; offline, a model that is not there is missed at once.
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor
    from transformers import PreTrainedModel

    from powerblend import Model

# While tests are collected modules are imported, of which none is garbage.
gc.disable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the file that takes longest: of files side by side, none is then left for last."""
    items.sort(key=lambda item: item.path.name != "test_workflow.py")


def pytest_collection_finish() -> None:
    """Spare every collection of garbage, and statsmodels asks for many, what was imported."""
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session")
def hf() -> "PreTrainedModel":
    """The tiny transformer that most tests enumerate."""
    import tiny

    return tiny.transformer()


@pytest.fixture(scope="session")
def model(hf: "PreTrainedModel") -> "Model":
    """The same, as the engine has it."""
    from powerblend import load_model

    return load_model(hf)


@pytest.fixture(scope="session")
def embedded() -> Path:
    """The directory of the embedded model, wherever this machine has it."""
    usual = Path(__file__).parents[1] / "results" / "models" / "smollm2-135m-instruct"
    path = Path(os.environ.get("POWERBLEND_TEST_MODEL", usual))
    if not (path / "config.json").exists():
        pytest.skip(f"no embedded model in {path}")
    return path


@pytest.fixture
def recordings(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Recorded steps with a stand-in for the GPU's recorder; how many rows each was made for.

    What recording does on a GPU is done here too: steps are run before they are recorded, rows are
    filled up to powers of two, lengths are rounded up, each step overwrites the last one's outcome,
    and steps are launched ahead of decisions.
    """
    from powerblend.engine import cuda_graphs, scheduler

    recorded = []

    def record(run: "Callable[[], Tensor]", *_: Any) -> cuda_graphs.Recording:
        for _ in range(cuda_graphs.WARM_UP_RUNS):
            outcome = run()
        recorded.append(len(outcome))
        return cuda_graphs.Recording(lambda: outcome.copy_(run()), outcome)

    monkeypatch.setattr(cuda_graphs, "pays_on", lambda device: True)
    monkeypatch.setattr(cuda_graphs, "record", record)
    monkeypatch.setattr(cuda_graphs, "LENGTH_MULTIPLE", 8)
    monkeypatch.setitem(scheduler.STEPS_AHEAD, "cpu", 1)
    return recorded


@pytest.fixture(scope="session")
def sandboxed() -> None:
    """Skips where programs cannot be run in a sandbox."""
    from powerblend.graders.sandbox import why_not

    reason = why_not()
    if reason:
        pytest.skip(f"no sandbox: {reason}")
