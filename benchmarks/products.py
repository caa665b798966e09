"""GFLOP/s of a model's linear maps by rows and by the layout of the weights; needs no model.

``by outputs`` is torch's own layout, ``by inputs`` its transpose, ``packed`` is oneDNN's own,
``tiles`` and ``panels`` are those of `powerblend.engine.tiled_linear`: several threads, and one.
Here there is one, and so many copies of the weights that no cache holds them.
"""

import time
from collections.abc import Callable
from typing import Any

import torch
from bench import median, parser, rows_option, side_by_side, write_table
from torch import nn

from powerblend.engine.tiled_linear import Panelled, Tiled

MAPS = {
    "135M, attention output": (576, 576),
    "135M, MLP gate": (576, 1536),
    "135M, MLP down": (1536, 576),
    "135M, lm_head": (576, 49_152),
    "4B, MLP gate": (2560, 9728),
    "4B, MLP down": (9728, 2560),
}
BYTES = 2**28


def main() -> None:
    """Measure and write the table."""
    options = parser(__doc__)
    rows_option(options, 1, 2, 4, 8, 16, 64, 128)
    chosen = options.parse_args()
    (table,) = side_by_side(measure, 1, [(chosen.rows, chosen.repeats)])
    notes = f"Medians of {chosen.repeats} passes over {BYTES / 2**20:.0f} MiB of weights or more."
    write_table("products", "GFLOP/s of linear maps", table, notes)


@torch.inference_mode()
def measure(all_rows: list[int], repeats: int) -> list[dict[str, Any]]:
    """A row of the table for each map and number of rows."""
    table = []
    for name, (inputs, outputs) in MAPS.items():
        copies = max(2, BYTES // (4 * inputs * outputs))
        for rows in all_rows:
            x = torch.randn(rows, inputs)
            flops = 2e-9 * rows * inputs * outputs * copies
            speeds = {
                layout: flops / seconds([build(inputs, outputs) for _ in range(copies)], x, repeats)
                for layout, build in LAYOUTS.items()
            }
            table.append({"map": name, "rows": rows, **speeds})
    return table


def by_outputs(inputs: int, outputs: int) -> nn.Module:
    """A linear map as torch has it."""
    return nn.Linear(inputs, outputs, bias=False)


def by_inputs(inputs: int, outputs: int) -> nn.Module:
    """The same with its weight transposed in memory."""
    linear = nn.Linear(inputs, outputs, bias=False)
    linear.weight.data = linear.weight.data.t().contiguous().t()
    return linear


class Packed(nn.Module):
    """In the layout of oneDNN for as many rows as it is first called with."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self._weight, self._packed = torch.randn(outputs, inputs), None

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """[rows, inputs] to [rows, outputs]."""
        if self._packed is None:
            pack = torch.ops.mkldnn._reorder_linear_weight
            self._packed = pack(self._weight, len(rows))
        multiply = torch.ops.mkldnn._linear_pointwise
        return multiply(rows, self._packed, None, "none", [], "")


def tiles(inputs: int, outputs: int) -> nn.Module:
    """As the engine has it for several threads."""
    return Tiled(nn.Linear(inputs, outputs, bias=False))


def panels(inputs: int, outputs: int) -> nn.Module:
    """As the engine has it for one."""
    return Panelled(nn.Linear(inputs, outputs, bias=False))


LAYOUTS: dict[str, Callable[[int, int], nn.Module]] = {
    "by outputs": by_outputs,
    "by inputs": by_inputs,
    "packed": Packed,
    "tiles": tiles,
    "panels": panels,
}


def seconds(maps: list[nn.Module], x: torch.Tensor, repeats: int) -> float:
    """Median seconds of a pass through all of them."""
    times = []
    for _ in range(repeats + 1):  # the first one warms up
        started = time.perf_counter()
        for linear in maps:
            linear(x)
        times.append(time.perf_counter() - started)
    return median(times[1:])


if __name__ == "__main__":
    main()
