"""What each row of the batch is generating: arrays on the device, one entry per row.

A row's proposal is loaded once, then advances token by token without Python touching single rows.
Knows no model and no chain.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from powerblend.engine.chain import Proposal, Trace
from powerblend.engine.laws import NOTHING, Draw


class Feed(NamedTuple):
    """What a step feeds to rows 0, 1, ...; tensors are [rows].

    ``answered`` counts the answer's tokens before the one that the step is for, and ``length`` is
    the largest of the ``positions`` + 1.
    """

    tokens: Tensor
    positions: Tensor
    answered: Tensor
    length: int


class Rows:
    """The proposals under way, in rows 0 to live - 1."""

    def __init__(self, rows: int, max_new_tokens: int, eos: frozenset[int], device: torch.device):
        def integers(*shape: int) -> Tensor:
            return torch.zeros(*shape, dtype=torch.long, device=device)

        self._feed, self._position = integers(rows), integers(rows)  # prompt included
        self._index, self._cap = integers(rows), integers(rows)  # in tokens of the answer
        self._current = integers(rows, max_new_tokens)
        self._tokens = integers(rows, max_new_tokens)
        self._uniforms = torch.zeros(rows, max_new_tokens, dtype=torch.float64, device=device)
        self._worth = torch.zeros(3, rows, max_new_tokens, dtype=torch.float64, device=device)
        self._following = torch.zeros(rows, dtype=torch.bool, device=device)
        self._gain = torch.zeros(rows, dtype=torch.float64, device=device)  # sum of w so far
        self._floor = torch.zeros(rows, dtype=torch.float64, device=device)
        self._eos = torch.tensor(sorted(eos), device=device)
        self._row = torch.arange(rows, device=device)

    def load(self, row: int, proposal: Proposal, prompt_tokens: int, feed: int) -> None:
        """Start a proposal: ``feed`` is the token before its first one."""
        cut, cap = proposal.cut, proposal.cap
        self._feed[row], self._position[row] = feed, prompt_tokens + cut - 1
        self._index[row], self._cap[row] = cut, cap
        self._uniforms[row, cut:cap] = torch.from_numpy(proposal.uniforms)
        self._current[row] = NOTHING
        self._current[row, cut : cut + len(proposal.current)] = torch.from_numpy(proposal.current)
        self._following[row] = True
        self._gain[row], self._floor[row] = 0.0, proposal.floor

    def feed(self, live: int, length: int) -> Feed:
        """What the next step of the first rows feeds."""
        return Feed(self._feed[:live], self._position[:live], self._index[:live], length)

    def pending(self, live: int) -> tuple[Tensor, Tensor]:
        """Uniforms and current tokens of the next draw, [live] each.

        A proposal may stay on the current string's token only while it has not left that string.
        """
        row, index = self._row[:live], self._index[:live]
        current = torch.where(self._following[:live], self._current[row, index], NOTHING)
        return self._uniforms[row, index], current

    def advance(self, draw: Draw, current: Tensor) -> list[int]:
        """Append the drawn tokens; the rows whose proposal is now finished."""
        live = len(draw.token)
        row, index = self._row[:live], self._index[:live]
        self._tokens[row, index] = draw.token
        for column, worth in zip(self._worth, draw[1:], strict=True):
            column[row, index] = worth.double()
        self._following[:live] &= draw.token == current
        self._feed[:live] = draw.token
        self._position[:live] += 1
        self._index[:live] += 1
        self._gain[:live] += draw.w
        index = self._index[:live]
        hopeless = self._gain[:live] - index.double().log() < self._floor[:live]
        done = torch.isin(draw.token, self._eos) | (index == self._cap[:live]) | hopeless
        return done.nonzero().flatten().tolist()

    def finished(self, row: int, cut: int) -> Trace:
        """The suffix that a finished row has generated from ``cut`` on."""
        stop = int(self._index[row])
        # Copies: the row is about to be used again.
        tokens = self._tokens[row, cut:stop].to("cpu", copy=True).numpy()
        return Trace(tokens, *self._worth[:, row, cut:stop].to("cpu", copy=True).numpy())

    def copy(self, source: int, target: int) -> None:
        """Move a row's proposal to another row."""
        state = (self._feed, self._position, self._index, self._cap, self._following)
        for column in (*state, self._gain, self._floor):
            column[target] = column[source]
        for table in (self._current, self._tokens, self._uniforms):
            table[target] = table[source]
        self._worth[:, target] = self._worth[:, source]
