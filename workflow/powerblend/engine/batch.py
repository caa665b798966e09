"""What each row of the batch is generating: arrays on the device, one entry per row.

A row's proposal is loaded once, then advances token by token without Python touching single rows,
or by several at once where its next tokens were guessed (`Batch.guess`):

    fed        last token of the row | guess 1 | guess 2 | guess 3 |
    drawn                    token 1 | token 2 | token 3 | token 4 |

Each is drawn with its own uniform number, so token 1 is what it would be without guesses; token 2
is if token 1 is guess 1, and so on. Those up to the first that was not guessed are kept. A recorded
step feeds every row as many tokens: one that has fewer guesses is filled up, with a token of which
nothing is kept, as no guess is right where there is none.
A row at rest, because its proposal is finished or because it has none, is stepped with the others
and stays as it is, so that a step may be run ahead of the decisions that the last one calls for.
Knows no model and no cache, and of a chain its proposals and traces alone.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from powerblend.engine.chain import Proposal
from powerblend.engine.distributions import NO_TOKEN, Draw
from powerblend.engine.endings import Ending
from powerblend.engine.strings import NO_COLUMNS, Trace
from powerblend.engine.transfers import Reader, upload

WORD_BYTES = 8
"""Of every number here, so that the records of many rows are one table of words."""

RESTED, DECODED = 0, -1
"""What a step did for a row: nothing, or tokens that are not its proposal's last."""


class StepInputs(NamedTuple):
    """What a decode step feeds to rows 0, 1, ...; tensors are [rows], or [fed] with ``guesses``.

    ``tokens`` are those that the model reads, at ``positions``; ``answer_lengths`` count the tokens
    that each answer has before the one that is drawn there; ``length`` is above all positions.
    ``guesses`` say whose each token is, where a row is fed several.
    """

    tokens: Tensor
    positions: Tensor
    answer_lengths: Tensor
    length: int
    guesses: "Guesses | None" = None

    @property
    def num_rows(self) -> int:
        """How many rows are fed."""
        return len(self.tokens if self.guesses is None else self.guesses.first)

    @property
    def rows(self) -> Tensor:
        """The row of each token."""
        if self.guesses is not None:
            return self.guesses.row
        return torch.arange(len(self.tokens), device=self.tokens.device)


class Guesses(NamedTuple):
    """What a step feeds behind the last token of each row: guesses of the next ones.

    Row after row; tensors are [fed]. ``offset`` is 0 at a row's own last token and counts its
    guesses from 1. ``guess`` is that of the token which is drawn there, `NO_TOKEN` at a row's end.
    ``first`` [rows] are the places of the rows' own last tokens, ``width`` is the largest number
    of tokens that a row is fed.
    """

    row: Tensor
    offset: Tensor
    guess: Tensor
    first: Tensor
    width: int

    @property
    def fed(self) -> Tensor:
        """The guess that is fed at each place; at a row's own last token it is none."""
        return self.guess.roll(1)

    @property
    def even(self) -> bool:
        """Whether every row is fed ``width`` tokens, as kernels of attention want them.

        Those behind a row's own guesses are anything; their keys are stale. So the cache has to
        have ``width`` - 1 positions behind the last one that a row ever needs.
        """
        return len(self.row) == len(self.first) * self.width

    @classmethod
    def filled_up(cls, guess: Tensor) -> "Guesses":
        """Of each row as many: ``guess`` [rows, width], `NO_TOKEN` where a row has none."""
        rows, width = guess.shape
        place = torch.arange(rows * width, device=guess.device)
        row = place // width
        return cls(row, place % width, guess.flatten(), place[::width], width)

    @classmethod
    def of(cls, guessed: Sequence[Sequence[int]], device: torch.device) -> "Guesses":
        """Of each row, the tokens guessed."""
        fed = [1 + len(tokens) for tokens in guessed]
        tokens = [token for row in guessed for token in (*row, NO_TOKEN)]
        offsets = [offset for count in fed for offset in range(count)]
        first = np.cumsum([0, *fed[:-1]])
        rows = np.repeat(np.arange(len(fed)), fed)
        parts = rows, np.array(offsets), np.array(tokens), first
        row, offset, guess, places = (upload(part, device) for part in parts)
        return cls(row, offset, guess, places, max(fed))


class Assignment(NamedTuple):
    """A proposal that a row is to generate; ``last_token`` is the one before its first."""

    row: int
    proposal: Proposal
    prompt_tokens: int
    last_token: int


class FinishedRow(NamedTuple):
    """A row that has generated its proposal's suffix: tokens ``cut`` to ``stop`` - 1."""

    row: int
    cut: int
    stop: int


def _record(tokens: int) -> np.dtype[Any]:
    """What a row knows of its proposal: a record, so that one copy loads those of many rows."""
    counts = [(name, np.int64) for name in ("token", "position", "index", "cap")]
    flags = [(name, np.int64) for name in ("following", "active", "rung", "state")]
    sums = [(name, np.float64) for name in ("gain", "mass", "floor")]
    strings = [("uniforms", np.float64, tokens), ("current", np.int64, tokens)]
    return np.dtype([*counts, *flags, *sums, *strings])


class Pending(NamedTuple):
    """What the next draw of each row needs to know, [live] each.

    Its uniform number, the token of the current string that it may stay on, and the number of its
    exponent, where the strings of an answer have several.
    """

    uniforms: Tensor
    current: Tensor
    rung: Tensor


class Batch:
    """The proposals of up to ``rows`` rows, whose tokens have ``columns`` columns of a `Trace`.

    A recorded step has a fixed number of rows, and reads the keys of vacant ones too. Those are fed
    at position ``resting``, the smallest that a row can have, so that they have few keys to read.
    It feeds each row up to ``widest`` tokens; where steps are not recorded, that is 1 and of no
    account.
    """

    def __init__(
        self,
        rows: int,
        max_new_tokens: int,
        ending: Ending,
        device: torch.device,
        resting: int,
        columns: int = 0,
        widest: int = 1,
    ) -> None:
        # One more than an answer can have: a row at rest is stepped too, and writes behind it.
        tokens = max_new_tokens + 1
        # A row that is filled up is fed tokens behind its cap, and a number is looked up for each.
        self._record = _record(max_new_tokens + widest)
        shape = (rows, self._record.itemsize // WORD_BYTES)
        self._table = torch.zeros(shape, dtype=torch.long, device=device)
        fields = _fields(self._table, self._record)
        self._token, self._position = fields["token"], fields["position"]
        self._index, self._cap, self._rung = fields["index"], fields["cap"], fields["rung"]
        self._following, self._active = fields["following"], fields["active"]
        self._state = fields["state"]
        self._gain, self._mass, self._floor = fields["gain"], fields["mass"], fields["floor"]
        self._uniforms, self._current = fields["uniforms"], fields["current"]
        self._resting = resting
        self._position.fill_(resting)
        # The arrays of a Trace: the token's id, which float64 holds exactly, and its numbers.
        self._drawn = torch.zeros(rows, 4 + columns, tokens, dtype=torch.float64, device=device)
        self._eos = torch.tensor(sorted(ending.eos), device=device)
        table = ending.table
        self._states = None if table is None else torch.from_numpy(table).to(device)
        self._row = torch.arange(rows, device=device)
        self._reader = Reader(device)
        self._guesses: Guesses | None = None
        self._put = torch.full((rows, widest), NO_TOKEN, device=device)

    def load(self, assignments: Sequence[Assignment]) -> None:
        """Give rows their proposals, of many rows in as few copies as of one."""
        if not assignments:
            return
        loaded = np.zeros(len(assignments), self._record)
        loaded["following"] = loaded["active"] = True
        loaded["current"] = NO_TOKEN
        for row, (_, proposal, prompt_tokens, last_token) in zip(loaded, assignments, strict=True):
            cut, cap, current = proposal.cut, proposal.cap, proposal.current
            row["token"], row["position"] = last_token, prompt_tokens + cut - 1
            row["index"], row["cap"], row["rung"] = cut, cap, proposal.rung
            row["state"] = proposal.state
            row["mass"], row["floor"] = proposal.mass, proposal.floor
            row["uniforms"][cut:cap] = proposal.uniforms
            row["current"][cut : cut + len(current)] = current
        rows, device = np.array([assignment.row for assignment in assignments]), self._row.device
        words = loaded.view(np.int64).reshape(len(assignments), -1)
        self._table[upload(rows, device)] = upload(words, device)

    def guess(self, guessed: Sequence[Sequence[int]]) -> None:
        """Let the next step of as many first rows check these guesses of their next tokens.

        Each row's are fewer than the tokens up to its cap.
        """
        self._guesses = Guesses.of(guessed, self._row.device) if any(guessed) else None

    def put_guesses(self, guessed: Sequence[Sequence[int]]) -> None:
        """Put guesses of as many first rows' next tokens where a recorded step finds them.

        Each row's are fewer than the step is wide, and than the tokens up to its cap.
        """
        table = np.full((len(guessed), self._put.shape[1]), NO_TOKEN)
        for line, tokens in zip(table, guessed, strict=True):
            line[: len(tokens)] = tokens
        self._put[: len(guessed)] = upload(table, self._row.device)

    def find_guesses(self, live: int, width: int) -> None:
        """Let the step under way, of ``width`` tokens a row, check what was put there.

        It reads what stays in place and nothing of the host's, so that it may be recorded.
        """
        self._guesses = Guesses.filled_up(self._put[:live, :width])

    def inputs(self, live: int, length: int) -> StepInputs:
        """Those of the next step of the first rows."""
        guesses = self._guesses
        if guesses is None:
            return StepInputs(self._token[:live], self._position[:live], self._index[:live], length)
        row, offset = guesses.row, guesses.offset
        # What fills a row up may be any token.
        tokens = torch.where(offset > 0, guesses.fed.clamp(min=0), self._token[row])
        positions, answer_lengths = self._position[row] + offset, self._index[row] + offset
        return StepInputs(tokens, positions, answer_lengths, length, guesses)

    def pending(self, live: int) -> Pending:
        """What the next draws of the first rows need to know.

        A proposal may stay on the current string's token only while it has not left that string.
        """
        row, index, following = self._row[:live], self._index[:live], self._following[:live] > 0
        if self._guesses is not None:
            row, offset = self._guesses.row, self._guesses.offset
            index, following = index[row] + offset, following[row]
            left = (offset > 0) & (self._guesses.fed != self._current[row, index - 1])
            times_left = left.cumsum(0)
            following &= times_left == times_left[self._guesses.first][row]
        current = torch.where(following, self._current[row, index], NO_TOKEN)
        return Pending(self._uniforms[row, index], current, self._rung[row])

    def advance(self, draw: Draw, current: Tensor) -> Tensor:
        """Append the drawn tokens to the rows at work; what the step did for each, [live, 3].

        That is `RESTED`, `DECODED` or, for a finished proposal, the number of its string's tokens;
        how many tokens were drawn; and the last of them.
        """
        guesses, self._guesses = self._guesses, None
        if guesses is None:
            active = self._active[: len(draw.token)] > 0
            outcome = self._append(draw, current, active)
            return torch.stack([outcome, active.long(), self._token[: len(active)]], -1)
        return self._advance_several(draw, current, guesses)

    def _advance_several(self, draw: Draw, current: Tensor, guesses: Guesses) -> Tensor:
        """The same of draws behind guesses, [fed]: token by token, up to the first wrong guess."""
        live, last = len(guesses.first), len(guesses.row) - 1
        going = self._active[:live] > 0
        outcome, drawn = torch.full((2, live), RESTED, device=going.device)
        for offset in range(guesses.width):
            place = (guesses.first + offset).clamp(max=last)
            here = Draw._make(None if column is None else column[place] for column in draw)
            outcome = torch.where(going, self._append(here, current[place], going), outcome)
            drawn += going
            going = going & (outcome == DECODED) & (here.token == guesses.guess[place])
        return torch.stack([outcome, drawn, self._token[:live]], -1)

    def _append(self, draw: Draw, current: Tensor, active: Tensor) -> Tensor:
        """Append a token each to those of the first rows that are active; its outcome, [live]."""
        live = len(active)
        row, index = self._row[:live], self._index[:live]
        drawn = torch.stack([column.double() for column in draw[:4]], -1)
        if draw.columns is not None:
            drawn = torch.cat([drawn, draw.columns], -1)
        self._drawn[row, :, index] = drawn
        self._following[:live] &= (draw.token == current) | ~active
        self._token[:live] = torch.where(active, draw.token, self._token[:live])
        self._position[:live] += active
        self._index[:live] += active
        self._gain[:live] += torch.where(active, draw.log_weight, 0.0)
        self._mass[:live] += active if draw.cut_weight is None else active * draw.cut_weight
        hopeless = self._gain[:live] - self._mass[:live].log() < self._floor[:live]
        ended = (draw.token[:, None] == self._eos).any(-1) | self._stopped(draw.token, active)
        done = ended | (index == self._cap[:live]) | hopeless
        outcome = torch.where(active, torch.where(done, index, DECODED), RESTED)
        self._active[:live] &= ~(done & active)
        return outcome

    def _stopped(self, token: Tensor, active: Tensor) -> Tensor:
        """Whether a row's string now holds a stop string, [live], if it is active."""
        live = len(token)
        if self._states is None:
            return torch.zeros_like(token, dtype=torch.bool)
        state = self._states[self._state[:live], token].long()
        self._state[:live] = torch.where(active, state, self._state[:live])
        return self._state[:live] == len(self._states) - 1

    def fence(self) -> None:
        """Say that a step comes next, which writes nothing that `finished` has still to read."""
        self._reader.fence()

    def finished(self, rows: Sequence[FinishedRow]) -> list[Trace]:
        """What finished rows have generated, as it was before the step under way."""
        # A whole row is contiguous, so one copy: its tokens from the cut on are gathered here.
        # What the step under way writes lies behind ``stop``.
        read = self._reader.read([self._drawn[row.row] for row in rows])
        traces = []
        for drawn, (_, cut, stop) in zip(read, rows, strict=True):
            tokens, log_p, log_q, log_weight, *more = drawn[:, cut:stop]
            columns = np.stack(more, -1) if more else NO_COLUMNS
            traces.append(Trace(tokens.astype(np.int64), log_p, log_q, log_weight, columns))
        return traces

    def move(self, source: int, target: int) -> None:
        """Copy a row's proposal to another row."""
        for table in (self._table, self._drawn):
            table[target] = table[source]

    def vacate(self, row: int) -> None:
        """Let a row rest that has no chain any more."""
        self._active[row] = 0
        self._position[row] = self._resting

    @contextmanager
    def at_rest(self) -> Iterator[None]:
        """Let all rows rest: steps change nothing that anyone reads."""
        active = self._active.clone()
        self._active.zero_()
        try:
            yield
        finally:
            self._active.copy_(active)


def _fields(table: Tensor, record: np.dtype[Any]) -> dict[str, Tensor]:
    """The fields of all rows' records, [rows] or [rows, tokens] each: views of the table."""
    kinds = {name: record[name] for name in record.names or ()}
    parts = table.split([kind.itemsize // WORD_BYTES for kind in kinds.values()], 1)
    fields = {}
    for (name, kind), words in zip(kinds.items(), parts, strict=True):
        field = words.view(torch.float64) if kind.base == np.float64 else words
        fields[name] = field if kind.shape else field.squeeze(1)
    return fields
