"""What a study will take on a device: steps, hours, memory and disk, from what its answers take."""

import heapq
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict, TypeAdapter

from powerblend.vocabulary.errors import ConfigError

SIBLING_START_SECONDS = 1.0
"""Of the job of a condition whose chains another job on the same CPU has gone on with."""

KEPT_SHARE = {"first": 0.93, "later": 0.52}
"""Of the time of decoding, what is left on a CPU where known strings are kept: of a process's first
condition, and of those after it (benchmarks/prefixes.py)."""

KEPT_GB = 2**30 / 1e9
"""At most, of strings that are kept."""

PROMPT_TOKENS = {"character": 0.3, "around": 12}
"""Of a prompt beyond what all share: by the problem's characters, and a chat template's."""

READ_GB_PER_SECOND = 1.0
"""How fast weights are read."""

SLOWER_WITH_DRAFT = 1.15
"""A step with a draft's passes, over one without (the demo's seconds per decoded token)."""

RECORD_BYTES = {"answer": 1650, "block": 44, "token": 20}
"""Of a line of a generation record, of a chain store and of a grade together."""

LIBRARIES_GB = 0.6
"""What a job has in memory before it has weights: torch, transformers, compiled loops."""

LOADED_TWICE = 2.6
"""Memory while weights are loaded and rearranged, over that of the weights: the checkpoint's pages,
the weights, and those of them that are being rearranged."""

PASSES_PER_TOKEN = {
    "draws": {1: 0.54, 8: 0.62, 52: 0.97},
    "moves": {1: 0.50, 8: 0.53, 52: 0.77},
}
"""Passes of a decoded token by rows, where guesses are made: of answers whose tokens are drawn
once, and of chains, which guess from their own strings too (benchmarks/passes.py, the demo)."""


class StepTimes(BaseModel):
    """A device's decode steps, as a benchmark measured them.

    ``start_seconds`` are a job's before its first step, beside reading weights: imports, the load
    check, what prompts share.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    device: str
    kind: Literal["cpu", "gpu"]
    start_seconds: float
    weights_gb: float
    milliseconds: dict[int, float]

    def seconds(self, rows: int, weights_gb: float) -> float:
        """A step of some rows by a model of other weights; a line between what was measured.

        Beyond the most rows that were measured it grows as they do.
        """
        measured = sorted(self.milliseconds.items())
        counts, times = zip(*measured, strict=True)
        scale = weights_gb / self.weights_gb / 1000
        beyond = max(1.0, rows / counts[-1])
        return float(np.interp(rows, counts, times)) * scale * beyond


def read_step_times(path: Path) -> list[StepTimes]:
    """Every device whose steps were measured."""
    return TypeAdapter(list[StepTimes]).validate_python(yaml.safe_load(path.read_text()))


def own_device(devices: Sequence[StepTimes], kind: str, machine: str) -> StepTimes:
    """The device of a kind that this machine is, or of those measured the one most like it.

    That is the first of those whose names have most words in common with the machine's.
    """
    ours = [device for device in devices if device.kind == kind]
    words = set(machine.split())
    return max(ours, key=lambda device: len(words.intersection(device.device.split())))


def named_device(devices: Sequence[StepTimes], wanted: str) -> StepTimes:
    """The device that a user named.

    Raises
    ------
    ConfigError
        If there is none of that name.
    """
    for device in devices:
        if wanted.lower() in device.device.lower():
            return device
    names = ", ".join(device.device for device in devices)
    raise ConfigError(f"--device: nothing is known of {wanted!r}; known are {names}")


def prompt_seconds(problems: Sequence[str], device: StepTimes, weights_gb: float) -> float:
    """Reading prompts, each beyond what all share, at the speed of the largest step."""
    most = max(device.milliseconds)
    tokens = sum(map(own_prompt_tokens, problems))
    return tokens / most * device.seconds(most, weights_gb)


def own_prompt_tokens(problem: str) -> float:
    """Tokens of a problem's prompt beyond what all prompts share, about."""
    return PROMPT_TOKENS["character"] * len(problem) + PROMPT_TOKENS["around"]


def start_seconds(device: StepTimes, weights_gb: float) -> float:
    """Of a job of the model, before its first step."""
    return device.start_seconds + weights_gb / READ_GB_PER_SECOND


def decoding_seconds(
    decoded: Sequence[int], rows: int, device: StepTimes, weights_gb: float
) -> float:
    """What a generate job takes to decode answers of ``decoded`` tokens each, ``rows`` at once.

    A row takes the next answer when its own has ended, so that only the end of a job has free rows.
    """
    free = [0] * min(rows, len(decoded))
    for steps in decoded:
        heapq.heappush(free, heapq.heappop(free) + steps)
    # Rows finish for good one after another, at these steps; until then all are live.
    seconds, before = 0.0, 0
    for finished, step in enumerate(sorted(free)):
        seconds += (step - before) * device.seconds(len(free) - finished, weights_gb)
        before = step
    return seconds


def passes_per_token(rows: int, moves: bool) -> float:
    """Passes of a decoded token where guesses are made, by the rows at work."""
    counts, shares = zip(*PASSES_PER_TOKEN["moves" if moves else "draws"].items(), strict=True)
    return float(np.interp(np.log(rows), np.log(counts), shares))


def disk_bytes(blocks: int, tokens: float) -> float:
    """What an answer takes in records, chain stores and grades together."""
    return RECORD_BYTES["answer"] + RECORD_BYTES["block"] * blocks + RECORD_BYTES["token"] * tokens


def job_memory_gb(weights_gb: float, keys_gb: float) -> float:
    """The most that a job has in memory: while it loads the weights, or with all keys."""
    return LIBRARIES_GB + max(LOADED_TWICE * weights_gb, weights_gb + keys_gb)


def weights_gb(config: Mapping[str, object], dtype_bytes: int) -> float:
    """The bytes of a decoder's weights, from its ``config.json``, in 10^9; norms are left out."""
    hidden, heads = _number(config, "hidden_size"), _number(config, "num_attention_heads", 1)
    attention = hidden * _head(config) * 2 * (heads + _number(config, "num_key_value_heads", heads))
    inner = _number(config, "moe_intermediate_size", _number(config, "intermediate_size"))
    feed_forward = 3 * hidden * inner * _number(config, "num_experts", 1)
    tables = 1 if config.get("tie_word_embeddings", True) else 2
    embeddings = tables * _number(config, "vocab_size") * hidden
    blocks = _number(config, "num_hidden_layers") * (attention + feed_forward)
    return (blocks + embeddings) * dtype_bytes / 1e9


def row_bytes(config: Mapping[str, object], capacity: int, dtype_bytes: int) -> float:
    """The keys and values of a row of ``capacity`` positions, and its logits in float32."""
    return key_bytes(config, capacity, dtype_bytes) + 6 * 4 * _number(config, "vocab_size")


def key_bytes(config: Mapping[str, object], positions: int, dtype_bytes: int) -> float:
    """The keys and values of so many positions."""
    heads = _number(config, "num_key_value_heads", _number(config, "num_attention_heads", 1))
    return (
        2 * _number(config, "num_hidden_layers") * heads * _head(config) * dtype_bytes * positions
    )


def _head(config: Mapping[str, object]) -> int:
    width = _number(config, "hidden_size") // _number(config, "num_attention_heads", 1)
    return _number(config, "head_dim", width)


def _number(config: Mapping[str, object], key: str, otherwise: int = 0) -> int:
    value = config.get(key)
    return int(value) if isinstance(value, int | float) and value else otherwise
