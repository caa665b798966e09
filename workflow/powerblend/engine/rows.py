"""What each row of the batch is generating: arrays on the device, one entry per row.

A row's proposal is loaded once, then advances token by token without Python touching single rows.
A row at rest, because its proposal is finished or because it has none, is stepped with the others
and stays as it is, so that a step may be run ahead of the decisions that the last one calls for.
Knows no model and no chain.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from powerblend.engine.chain import Proposal, Trace
from powerblend.engine.laws import NOTHING, Draw
from powerblend.engine.transfers import Reader, upload

RESTED, DECODED = 0, -1
"""What a step did for a row: nothing, or a token that is not its proposal's last."""


class Feed(NamedTuple):
    """What a step feeds to rows 0, 1, ...; tensors are [rows].

    ``answered`` counts the answer's tokens before the one that the step is for, and ``length`` is
    more than any of the ``positions``.
    """

    tokens: Tensor
    positions: Tensor
    answered: Tensor
    length: int


class Rows:
    """The proposals of up to ``rows`` rows; those without one feed position ``resting``."""

    def __init__(
        self,
        rows: int,
        max_new_tokens: int,
        eos: frozenset[int],
        device: torch.device,
        resting: int,
    ) -> None:
        # One token more than there are: a row at rest writes behind its last one.
        tokens = max_new_tokens + 1
        self._counts = torch.zeros(4, rows, dtype=torch.long, device=device)
        self._feed, self._position, self._index, self._cap = self._counts
        self._position.fill_(resting)
        self._following, self._active = torch.zeros(2, rows, dtype=torch.bool, device=device)
        self._gain, self._floor = torch.zeros(2, rows, dtype=torch.float64, device=device)
        self._current = torch.zeros(rows, tokens, dtype=torch.long, device=device)
        self._uniforms = torch.zeros(rows, tokens, dtype=torch.float64, device=device)
        # A token's id and its worth, the columns of a Trace: ids are exact in float64.
        self._drawn = torch.zeros(rows, 4, tokens, dtype=torch.float64, device=device)
        self._eos = torch.tensor(sorted(eos), device=device)
        self._row = torch.arange(rows, device=device)
        self._reader = Reader(device)

    def load(self, row: int, proposal: Proposal, prompt_tokens: int, feed: int) -> None:
        """Start a proposal: ``feed`` is the token before its first one."""
        cut, cap, device = proposal.cut, proposal.cap, self._row.device
        counts = np.array([feed, prompt_tokens + cut - 1, cut, cap])
        self._counts[:, row] = upload(counts, device)
        self._uniforms[row, cut:cap] = upload(proposal.uniforms, device)
        self._current[row] = NOTHING
        current = upload(proposal.current, device)
        self._current[row, cut : cut + len(current)] = current
        self._following[row] = self._active[row] = True
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

    def advance(self, draw: Draw, current: Tensor) -> Tensor:
        """Append the drawn tokens to the rows at work; what the step did for each row, [live].

        That is `RESTED`, `DECODED` or, for a finished proposal, the number of its string's tokens.
        """
        live = len(draw.token)
        row, index, active = self._row[:live], self._index[:live], self._active[:live]
        self._drawn[row, :, index] = torch.stack([column.double() for column in draw], -1)
        self._following[:live] &= (draw.token == current) | ~active
        self._feed[:live] = torch.where(active, draw.token, self._feed[:live])
        self._position[:live] += active
        self._index[:live] += active
        self._gain[:live] += torch.where(active, draw.w, 0.0)
        hopeless = self._gain[:live] - index.double().log() < self._floor[:live]
        done = torch.isin(draw.token, self._eos) | (index == self._cap[:live]) | hopeless
        outcome = torch.where(active, torch.where(done, index, DECODED), RESTED)
        self._active[:live] &= ~done
        return outcome

    def finished(self, row: int, cut: int, stop: int) -> Trace:
        """The suffix that a finished row has generated: tokens ``cut`` to ``stop`` - 1."""
        # A whole row lies together: it is copied as it is, where a part would first be gathered.
        # A step under way writes behind the last token, which is cut off.
        tokens, *worth = self._reader.read(self._drawn[row])[:, cut:stop]
        return Trace(tokens.astype(np.int64), *worth)

    def move(self, source: int, target: int) -> None:
        """Move a row's proposal to another row, and let its own rest."""
        self._counts[:, target] = self._counts[:, source]
        for column in (self._following, self._active, self._gain, self._floor):
            column[target] = column[source]
        for table in (self._current, self._uniforms, self._drawn):
            table[target] = table[source]
        self._active[source] = False

    @contextmanager
    def at_rest(self) -> Iterator[None]:
        """Let all rows rest: steps change nothing that anyone reads."""
        active = self._active.clone()
        self._active.zero_()
        try:
            yield
        finally:
            self._active.copy_(active)
