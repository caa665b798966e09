"""Ask a model one question, and see its answers.

powerblend sample results/models/smollm2-135m-instruct "What is 12 + 30?"
powerblend sample Qwen/Qwen3-4B "What is 12 + 30?" --alpha 4 --samples 4 --device cuda
powerblend sample MODEL "What is 12 + 30?" --sampler greedy

Power sampling draws from p^alpha: answers that the model finds likely as a whole. An answer grows
in blocks; after each, some moves try to replace a part of it and are accepted or rejected. On a
terminal they are shown as they happen: + was accepted, - was rejected.
"""

import argparse
import sys
from collections.abc import Iterator

from powerblend.api.generation import Generation, Run, requests_of
from powerblend.api.loading import DTYPES, load_model
from powerblend.engine.scheduler import Tally
from powerblend.samplers import Sampler, parse_sampler

SHOWN_MOVES = 40
"""The latest ones that fit a terminal's line."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Name the model, the question and the way of decoding."""
    parser.add_argument("model", help="a directory, or a hub id")
    parser.add_argument("question", help="what a user would say")
    parser.add_argument(
        "--plain", action="store_true", help="go on from it as a text, as base models do"
    )
    parser.add_argument(
        "--sampler",
        choices=["power", "greedy", "temperature"],
        default="power",
        help="(default power)",
    )
    parser.add_argument("--alpha", type=float, default=4.0, help="exponent of p (default 4)")
    parser.add_argument(
        "--temperature", type=float, default=1.0, help="of the sampler temperature (default 1)"
    )
    parser.add_argument("--samples", type=int, default=1, help="answers (default 1)")
    parser.add_argument(
        "--max-new-tokens", type=int, default=128, help="longest answer (default 128)"
    )
    parser.add_argument(
        "--blocks", type=int, default=8, help="it grows in; they divide the longest (default 8)"
    )
    parser.add_argument("--steps", type=int, default=2, help="moves after each block (default 2)")
    parser.add_argument("--seed", type=int, default=0, help="the same gives the same (default 0)")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="(default cpu)")
    parser.add_argument(
        "--dtype", choices=list(DTYPES), default="float32", help="(default float32)"
    )


def run(options: argparse.Namespace) -> None:
    """Print the answers."""
    sampler = sampler_of(options)
    model = load_model(options.model, dtype=options.dtype, device=options.device)
    chat = [{"role": "user", "content": options.question}]
    prompt = options.question if options.plain else chat
    requests = requests_of(model, [prompt], sampler, options.samples)
    sampling = Run(model, requests, sampler, options.seed, rows=None)
    for number, answer in enumerate(_watched(sampling), start=1):
        print(f"{_heading(number, answer)}\n{answer.text}\n")


def sampler_of(options: argparse.Namespace) -> Sampler:
    """What the arguments describe; raises pydantic.ValidationError for a value not allowed."""
    chosen: dict[str, tuple[str, ...]] = {
        "power": ("alpha", "blocks", "steps"),
        "temperature": ("temperature",),
        "greedy": (),
    }
    keys = ("sampler", "max_new_tokens", *chosen[options.sampler])
    return parse_sampler({key: getattr(options, key) for key in keys})


def _heading(number: int, answer: Generation) -> str:
    moves = f", {answer.accepted} of {answer.moves} moves accepted" if answer.moves else ""
    cut = ", cut off" if answer.finish == "length" else ""
    return f"[{number}] log p {answer.log_p:.2f}, {answer.n_tokens} tokens{cut}{moves}"


def _watched(sampling: Run) -> Iterator[Generation]:
    """The answers in their order; on a terminal, a line of moves while they are awaited."""
    done: dict[int, Generation] = {}
    track, before = "", (0, 0)
    for finished in sampling.steps():
        done |= {request.sample: answer for request, answer in finished}
        track = (track + _new_moves(sampling.tally, before))[-SHOWN_MOVES:]
        before = (sampling.tally.moves, sampling.tally.accepted)
        _show(f"{before[0]} moves, {sampling.tally.decoded_tokens} tokens  {track}")
    _show("")
    yield from (done[sample] for sample in sorted(done))


def _show(line: str) -> None:
    """Put a line in the place of the last one, where there is a terminal."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{line}")
        sys.stderr.flush()


def _new_moves(tally: Tally, before: tuple[int, int]) -> str:
    """The moves of a step, + for an accepted and - for a rejected one."""
    moves, accepted = tally.moves - before[0], tally.accepted - before[1]
    return "+" * accepted + "-" * (moves - accepted)
