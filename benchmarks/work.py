"""Positions decoded per answer token, with one speed-up after another: independent of hardware.

Naive runs the answer's kept part again for every proposal, as a call to ``generate`` does; prefix
reuse keeps its keys; the divergence skip follows the current string without the model; early
rejection gives up a proposal that can no longer be accepted. The same chains under the same random
numbers: no speed-up changes a decision, so the answers must be equal (in float32, but for draws
that fall into a rounding gap).
"""

from collections.abc import Sequence
from typing import Any

from bench import demo_model, parser, prompts, write_table

from powerblend import load_model, sample
from powerblend.engine.chain import Chain, Schedule, Trace
from powerblend.engine.endings import Ending
from powerblend.engine.model import Model
from powerblend.engine.randomness import Stream
from powerblend.samplers import Power

LENGTH, BLOCKS, STEPS = 64, 8, 2
BLEND = {"source": "layer", "layer": 27, "beta": 0.02}
CONDITIONS: dict[str, dict[str, Any]] = {
    "ps": {},
    "blend_ps, base proposal": {"blend": BLEND},
    "blend_ps, target proposal": {"blend": BLEND, "proposal": "target"},
}


class Counting(Chain):
    """A chain that adds up the answer tokens that its proposals kept."""

    kept = 0

    def finish(self, suffixes: Sequence[Trace]) -> bool:
        """Take what was generated, as ever."""
        Counting.kept += sum(proposal.cut for proposal in self._pending)
        return super().finish(suffixes)


class Variant(Power):
    """Power sampling with its savings switched off, one by one."""

    skip: bool
    early: bool

    def schedule(self) -> Schedule:
        """The sampler's, with less."""
        full = super().schedule()
        return full._replace(skip=self.skip, early=full.early and self.early)

    def answer(self, stream: Stream, ending: Ending) -> Counting:
        """A chain whose kept tokens are counted."""
        return Counting(self.schedule(), stream, ending)


def main() -> None:
    """Count and write the table."""
    options = parser(__doc__, repeats=1)
    options.add_argument("--problems", type=int, default=26, help="(default 26)")
    options.add_argument(
        "--alphas", type=float, nargs="+", default=[2.0, 4.0, 8.0], help="(default 2 4 8)"
    )
    chosen = options.parse_args()
    model = load_model(demo_model())
    chats = prompts(chosen.problems)
    table = []
    for alpha in chosen.alphas:
        for name, keys in CONDITIONS.items():
            reuse, naive, answers = count(model, chats, alpha, keys, skip=False, early=False)
            skipped, _, same = count(model, chats, alpha, keys, skip=True, early=False)
            early, _, same_too = count(model, chats, alpha, keys, skip=True, early=True)
            equal = sum(a == b == c for a, b, c in zip(answers, same, same_too, strict=True))
            table.append(
                {
                    "condition": name,
                    "α": alpha,
                    "naive": naive,
                    "+ prefix reuse": reuse,
                    "+ divergence skip": skipped,
                    "+ early rejection": early,
                    "of naive": early / naive,
                    "equal answers": f"{equal} of {len(answers)}",
                }
            )
    write_table(
        "work",
        "Positions decoded per answer token",
        table,
        f"{chosen.problems} problems of the demo, {LENGTH} tokens, {BLOCKS} blocks × {STEPS} "
        "steps. Counts, not times. Early rejection needs w ≤ 0 and so a target proportional to the "
        "proposal: for a blend with the base proposal it does nothing.",
    )


def count(
    model: Model, chats: Any, alpha: float, keys: dict[str, Any], skip: bool, early: bool
) -> tuple[float, float, list[list[int]]]:
    """Decoded positions per answer token, with and without prefix reuse; and the answers."""
    shape = {"max_new_tokens": LENGTH, "blocks": BLOCKS, "steps": STEPS, "alpha": alpha}
    sampler = Variant(sampler="power", skip=skip, early=early, **shape, **keys)
    Counting.kept = 0
    out = [answers[0] for answers in sample(model, chats, sampler, rows=52)]
    tokens = sum(answer.n_tokens for answer in out)
    decoded = sum(answer.decoded_tokens for answer in out)
    return decoded / tokens, (decoded + Counting.kept) / tokens, [answer.tokens for answer in out]


if __name__ == "__main__":
    main()
