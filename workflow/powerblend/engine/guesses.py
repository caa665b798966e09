"""Guesses of a row's next tokens: what was written after the same ones before. Knows no torch.

An answer's proposals repeat one another, its sibling samples and its prompt. So what followed the
longest match of a row's last tokens in any of them is a guess of what follows now (prompt lookup;
Saxena, "Prompt Lookup Decoding", 2023). Whoever runs the model draws every token all the same, and
keeps a guess only where it is the token drawn: guesses decide how many tokens a step yields, and
never which.
"""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from powerblend.engine.chain import Proposal

LONGEST_MATCH = 16
"""Tokens before a place that are compared with a row's last ones."""

MAX_PLACES = 64
"""The latest places of a token at which a match is looked for."""

MOST_GUESSED = 8
"""Tokens guessed of a row at once."""

PRIOR_RIGHT = 0.5, 0.9
"""Shares of guesses taken to be right, after a match of one token and of the longest, ..."""

PRIOR_GUESSES = 4.0
"""... and how many guesses that is worth, before any were made."""


class Written:
    """All that was written after one prompt, and where in it each token is."""

    def __init__(self, prompt: NDArray[np.int64]) -> None:
        self._places: defaultdict[int, list[tuple[list[int], int]]] = defaultdict(list)
        text: list[int] = []
        self.extend(text, prompt.tolist())

    def extend(self, text: list[int], tokens: Sequence[int]) -> None:
        """Write tokens behind a text, of which there may be several at once."""
        for token in tokens:
            if text:
                self._places[text[-1]].append((text, len(text)))
            text.append(token)

    def after(self, text: list[int], but: int | None) -> tuple[int, Sequence[int]]:
        """How many tokens before it match the text's last ones, and what followed the best match.

        That is the latest of the longest matches, whose next token is not ``but``.
        """
        longest, best = 0, None
        for other, index in reversed(self._places.get(text[-1], ())[-MAX_PLACES:]):
            # Most places are passed over here, at the price of one comparison.
            start = index - 1 - longest
            longer = start >= 0 and text[-1 - longest :] == other[start:index]
            if longer and other[index] != but:
                longest, best = _match(text, other, index), (other, index)
                if longest == LONGEST_MATCH:
                    break
        return longest, best[0][best[1] : best[1] + MOST_GUESSED] if best else ()


def _match(text: Sequence[int], other: Sequence[int], index: int) -> int:
    """How many tokens before an index are a text's last ones, up to `LONGEST_MATCH`."""
    most = min(LONGEST_MATCH, len(text), index)
    return next((n for n in range(most) if text[-1 - n] != other[index - 1 - n]), most)


class Rates:
    """How often guesses were right, by how many tokens before them matched."""

    def __init__(self) -> None:
        share = np.linspace(*PRIOR_RIGHT, LONGEST_MATCH)
        self._right = [0.0, *(PRIOR_GUESSES * share)]
        self._made = [PRIOR_GUESSES] * (LONGEST_MATCH + 1)

    def __getitem__(self, matched: int) -> float:
        matched = min(matched, LONGEST_MATCH)
        return self._right[matched] / self._made[matched]

    def add(self, matched: int, right: bool) -> None:
        """Count a guess whose predecessors were right."""
        matched = min(matched, LONGEST_MATCH)
        self._made[matched] += 1
        self._right[matched] += right


class Guessing:
    """A row's text under way: its last tokens before the proposal, and what was drawn since."""

    def __init__(self, written: Written, prompt: NDArray[np.int64], proposal: Proposal) -> None:
        self._written = written
        whole = [*prompt[-LONGEST_MATCH:].tolist(), *proposal.head[-LONGEST_MATCH:].tolist()]
        self._text = whole[-LONGEST_MATCH:]
        self._left = proposal.cap - proposal.cut  # tokens up to the cap
        # A move begins where it leaves the current string.
        self._not = int(proposal.current[0]) if len(proposal.current) else None
        self._matched = 0
        self._guessed: list[int] = []

    def guess(self, rates: Rates, worth: float, most: int) -> list[int]:
        """The next tokens, as far as the chance that all are right is ``worth`` or more."""
        self._guessed, chance = [], 1.0
        most = min(most, self._left - 1)
        if most <= 0:
            return self._guessed
        self._matched, found = self._written.after(self._text, self._not)
        for token in found[:most]:
            chance *= rates[self._matched + len(self._guessed)]
            if chance < worth:
                break
            self._guessed.append(token)
        return self._guessed

    def drawn(self, count: int, last: int, rates: Rates) -> int:
        """Take what a step drew: guesses, then ``last``; returns how many guesses were right."""
        tokens = [*self._guessed[: count - 1], last]
        checked = [guess == token for guess, token in zip(self._guessed, tokens, strict=False)]
        for before, right in enumerate(checked):
            rates.add(self._matched + before, right)
        self._written.extend(self._text, tokens)
        self._left -= count
        self._not = None
        return sum(checked)
