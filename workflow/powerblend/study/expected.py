"""What answers are likely to take, before they are generated: by earlier records, or by assumption.

Records of the very cell come first; then those of any study that decoded in the same way with the
same model, whatever the blend; then the lengths of any answers of that model, first to the same
dataset. Where there are none, an answer is taken to be half as long as it may be.
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from powerblend.infrastructure.files import read_jsonl
from powerblend.samplers import Sampler
from powerblend.study.cells import Cell
from powerblend.vocabulary.specs import CellSpec

UNSKIPPED = {"rejected early": 0.48, "to the end": 0.75}
"""Share of what moves propose that is decoded, times alpha: the rest is drawn with probabilities
that are known. Where a lost proposal is given up early, 0.9 of 7.4 positions a token at alpha 4;
where it is not, 1.5 (benchmarks/work.py)."""

AT_MOST = 2000
"""Records that are read for one condition: their mean is known well enough."""


class Expected(NamedTuple):
    """Tokens of answers of one condition: as a sample of what to expect, answer by answer."""

    tokens: Sequence[int]
    decoded: Sequence[int]
    passes: float | None
    """Passes of a decoded token; None where no record of the very condition says."""
    prompt: int
    """Tokens of the longest prompt; 0 where no record says."""
    source: str


def expected(cell: Cell, results: Path) -> Expected:
    """What the answers of a cell are likely to take, from the records under ``results``."""
    spec = cell.spec
    assert isinstance(spec, CellSpec)
    earlier = list(_earlier_cells(results, spec))
    same = [(folder, other) for folder, other in earlier if other.dataset == spec.dataset]
    own = [folder for folder, _ in same if folder.name == cell.name]
    alike = [f for f, other in same if _alike(other.decoding) == _alike(spec.decoding)]
    if found := _read(own):
        passes = found.passes / sum(found.decoded) if found.passes else None
        return Expected(found.tokens, found.decoded, passes, found.prompt, "its own records")
    if found := _read(alike):
        source = "records of the same sampler"
        return Expected(found.tokens, found.decoded, None, found.prompt, source)
    for folders, source in (
        ([folder for folder, _ in same], "lengths of this model's answers"),
        ([folder for folder, _ in earlier], "lengths of this model's answers to others"),
    ):
        if found := _read(folders):
            return _by_lengths(spec.decoding, found.tokens, found.prompt, source)
    half = spec.decoding.max_new_tokens // 2
    return _by_lengths(spec.decoding, [half], 0, "assumed: half the longest answer")


def _by_lengths(sampler: Sampler, tokens: Sequence[int], prompt: int, source: str) -> Expected:
    lengths = [min(n, sampler.max_new_tokens) for n in tokens]
    decoded = [round(n * positions_per_token(sampler, n)) for n in lengths]
    return Expected(lengths, decoded, None, prompt, source)


def positions_per_token(sampler: Sampler, length: int) -> float:
    """Positions that a sampler decodes for a token of an answer of ``length`` tokens, about.

    A move proposes anew half of what the stage has on average (cuts are uniform), of which
    `UNSKIPPED` is decoded; each of an answer's strings costs the same.
    """
    schedule = sampler.schedule()
    cap = sampler.max_new_tokens / max(schedule.blocks, 1)
    states = [min(length, stage * cap) for stage in range(1, schedule.blocks + 1)]
    moves = schedule.steps * (getattr(sampler, "tries", None) or 1) * sum(states) / 2
    skips = UNSKIPPED["rejected early" if schedule.early else "to the end"]
    decoded = min(1.0, skips / getattr(sampler, "alpha", 1.0))
    return sampler.strings * (1 + moves / length * decoded)


def _alike(sampler: Sampler) -> Sampler:
    """The sampler without its blend, which hardly changes how long answers are."""
    return sampler.model_copy(update={"blend": None})


def _earlier_cells(results: Path, spec: CellSpec) -> Iterator[tuple[Path, CellSpec]]:
    """Folders of answers by the same model, each with what its job was to do."""
    for folder in sorted(results.glob("*/generate/*")):
        written = folder.parents[1] / "specs" / f"{folder.name}.json"
        try:
            other = CellSpec.model_validate_json(written.read_text())
        except (OSError, ValueError):
            continue  # of another version, or its spec was deleted: it says nothing
        if other.model.name == spec.model.name:
            yield folder, other


class _Read(NamedTuple):
    """What records say."""

    tokens: list[int]
    decoded: list[int]
    passes: int
    """Of all together; 0 where they do not say."""
    prompt: int


def _read(folders: Sequence[Path]) -> _Read | None:
    every = (
        record
        for folder in folders
        for file in sorted(folder.glob("*.jsonl"))
        for record in read_jsonl(file)
    )
    if not (records := list(islice(every, AT_MOST))):
        return None
    return _Read(
        [int(record["n_tokens"]) for record in records],
        [int(record["decoded_tokens"]) for record in records],
        sum(record.get("passes") or 0 for record in records),
        max(record.get("prompt_tokens") or 0 for record in records),
    )
