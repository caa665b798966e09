"""Problems per hour of the power sampler, against the reference procedure.

All sides answer the demo's problems with the same model, alpha, blocks and steps, hence the same
number of moves, each on two one-thread processes that halve the problems. The baselines answer
fewer problems, for they take long; loading the model is nobody's time.
"""

import time

import torch
from bench import demo_model, median, parser, prompts, side_by_side, write_table
from reference import Reference

from powerblend import load_model, sample

LENGTH, BLOCKS, STEPS, ALPHA = 64, 8, 2, 4.0
ROWS = 52  # of the engine, as in the demo


def main() -> None:
    """Measure and write the table."""
    options = parser(__doc__)
    options.add_argument("--problems", type=int, default=104, help="of powerblend (default 104)")
    options.add_argument("--lockstep", type=int, default=52, help="of lockstep (default 52)")
    options.add_argument("--single", type=int, default=4, help="one at a time (default 4)")
    options.add_argument("--processes", type=int, default=2, help="of one thread (default 2)")
    chosen = options.parse_args()
    sides = [
        ("powerblend", powerblend, chosen.problems),
        ("reference, batched in lockstep", lockstep, chosen.lockstep),
        ("reference, one at a time", single, chosen.single),
    ]
    speeds: dict[str, list[float]] = {name: [] for name, _, _ in sides}
    moves = {}
    for _ in range(chosen.repeats):
        for name, function, count in sides:
            arguments = [(part, count, chosen.processes) for part in range(chosen.processes)]
            outcomes = side_by_side(function, 1, arguments)
            speeds[name].append(3600 * count / max(seconds for seconds, _ in outcomes))
            moves[name] = sum(m for _, m in outcomes) / count
    ours = median(speeds["powerblend"])
    table = [
        {
            "sampler": name,
            "problems": count,
            "moves per problem": moves[name],
            "problems per hour": median(speeds[name]),
            "powerblend is faster by": ours / median(speeds[name]),
        }
        for name, _, count in sides
    ]
    write_table(
        "chains",
        "Problems per hour of the power sampler",
        table,
        f"SmolLM2-135M-Instruct in float32, α = {ALPHA:g}, {LENGTH} tokens, {BLOCKS} blocks × "
        f"{STEPS} steps; {chosen.processes} one-thread processes. Medians of {chosen.repeats} "
        "repetitions, in turns.",
    )


def powerblend(part: int, count: int, processes: int) -> tuple[float, int]:
    """Seconds and moves of the engine on every ``processes``-th problem."""
    model = load_model(demo_model())
    decoding = {"sampler": "power", "alpha": ALPHA, "max_new_tokens": LENGTH}
    chats = prompts(count)[part::processes]
    started = time.perf_counter()
    out = sample(model, chats, {**decoding, "blocks": BLOCKS, "steps": STEPS}, rows=ROWS)
    return time.perf_counter() - started, sum(answer.moves for (answer,) in out)


def lockstep(part: int, count: int, processes: int) -> tuple[float, int]:
    """Seconds and moves of the reference with all its problems in one batch."""
    return _reference(part, count, processes, batch=count)


def single(part: int, count: int, processes: int) -> tuple[float, int]:
    """Seconds and moves of the reference with one problem at a time."""
    return _reference(part, count, processes, batch=1)


def _reference(part: int, count: int, processes: int, batch: int) -> tuple[float, int]:
    torch.set_flush_denormal(True)
    torch.manual_seed(part)
    sampler = Reference(str(demo_model()), ALPHA)
    chats = prompts(count)[part::processes]
    started = time.perf_counter()
    for first in range(0, len(chats), batch):
        sampler.sample(chats[first : first + batch], LENGTH, BLOCKS, STEPS)
    return time.perf_counter() - started, sampler.moves


if __name__ == "__main__":
    main()
