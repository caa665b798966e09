"""Guesses of a row's next tokens: what was written after the same ones before. Knows no torch.

An answer's proposals repeat one another, its sibling samples and its prompt. So what followed the
longest match of a row's last tokens in any of them is a guess of what follows now (prompt lookup;
Saxena, "Prompt Lookup Decoding", 2023); where there is none, a draft may have one. Whoever runs the
model draws every token all the same, and keeps a guess only where it is the token drawn: guesses
decide how many tokens a step yields, and never which.
"""

from collections import defaultdict
from collections.abc import Sequence
from itertools import accumulate
from operator import mul

import numpy as np
from numpy.typing import NDArray

from powerblend.engine.chain import Proposal

LONGEST_MATCH = 16
"""Tokens before a place that are compared with a row's last ones."""

MAX_PLACES = 64
"""The latest places of a token at which a match is looked for."""

MOST_GUESSED = 8
"""Tokens guessed of a row at once."""

WIDTHS = 1, 4, 8
"""Tokens that a recorded step may feed to each row: its last one and guesses.

Few, for each is recorded for every number of rows; and in the few rows for which guesses pay, four
tokens of each take a GPU hardly longer than two."""

WAITED = 4, 1
"""What a step that waits for the host costs, in tokens fed: at all, and for each row.

Some 25 microseconds are a token's, of a model that takes 6 milliseconds to read: about as long as
the host takes to settle and guess for a row, beside the copies both ways."""

PRIOR_RIGHT = 0.5, 0.9
"""Shares of guesses taken to be right, after a match of one token and of the longest, ..."""

PRIOR_GUESSES = 4.0
"""... and how many guesses that is worth, before any were made."""

DRAFTED = LONGEST_MATCH
"""Behind the matches' rates are those of a draft, by how far into its block a token is: ..."""

LONGEST_DRAFTED, PRIOR_DRAFTED = 16, 0.6
"""... up to so many tokens, and the share of guesses taken to be right."""


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
                places = self._places[text[-1]]
                places.append((text, len(text)))
                # What is no longer looked at is let go of, now and then, with its text.
                if len(places) == 2 * MAX_PLACES:
                    del places[:MAX_PLACES]
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
    """How often guesses were right, by how many tokens before them matched, or by a draft."""

    def __init__(self) -> None:
        matched = np.linspace(*PRIOR_RIGHT, LONGEST_MATCH).tolist()
        share = [0.0, *matched, *[PRIOR_DRAFTED] * LONGEST_DRAFTED]
        self._right = [PRIOR_GUESSES * part for part in share]
        self._made = [PRIOR_GUESSES] * len(share)

    def __getitem__(self, kind: int) -> float:
        return self._right[kind] / self._made[kind]

    def add(self, kind: int, right: bool) -> None:
        """Count a guess whose predecessors were right."""
        self._made[kind] += 1
        self._right[kind] += right


def matching(matched: int) -> int:
    """The kind of a guess before which so many tokens match."""
    return min(matched, LONGEST_MATCH)


def drafted(offset: int) -> int:
    """The kind of a draft's guess of the token so far behind its block's first."""
    return DRAFTED + min(offset, LONGEST_DRAFTED)


class Guessing:
    """A row's text under way: its last tokens before the proposal, and what was drawn since."""

    def __init__(self, written: Written, prompt: NDArray[np.int64], proposal: Proposal) -> None:
        self._written = written
        whole = [*prompt[-LONGEST_MATCH:].tolist(), *proposal.head[-LONGEST_MATCH:].tolist()]
        self._text = whole[-LONGEST_MATCH:]
        self._left = proposal.cap - proposal.cut  # tokens up to the cap
        # A move begins where it leaves the current string.
        self._not = int(proposal.current[0]) if len(proposal.current) else None
        self._kinds: list[int] = []
        self._guessed: list[int] = []
        self._fed = 0  # of the tokens guessed, those that a step checks

    def guess(self, rates: Rates, worth: float, most: int) -> list[int]:
        """The next tokens, as far as the chance that all are right is ``worth`` or more."""
        self._guessed = []
        if min(most, self._left - 1) <= 0:
            return self._guessed
        matched, found = self._written.after(self._text, self._not)
        kinds = [matching(matched + number) for number in range(len(found))]
        return self._take(found[:most], kinds, rates, worth)

    def foresee(self, rates: Rates, most: int) -> list[float]:
        """The chances that the next token can be guessed, that the next two can, up to ``most``.

        Nothing is fed yet (`feed`); whether the first is right is counted all the same.
        """
        guessed, self._fed = self.guess(rates, 0.0, most), 0
        return list(accumulate((rates[kind] for kind in self._kinds[: len(guessed)]), mul))

    def feed(self, most: int) -> list[int]:
        """The first of the tokens foreseen, for the next step to check."""
        fed = self._guessed[:most]
        self._fed = len(fed)
        return fed

    def guess_drafted(
        self, tokens: Sequence[int], offset: int, rates: Rates, worth: float
    ) -> list[int]:
        """The same of what a draft says, from so far behind its block's first token on."""
        if tokens and tokens[0] == self._not:
            return []
        kinds = [drafted(offset + number) for number in range(len(tokens))]
        return self._take(tokens, kinds, rates, worth)

    def _take(
        self, tokens: Sequence[int], kinds: list[int], rates: Rates, worth: float
    ) -> list[int]:
        self._kinds, self._guessed, chance = kinds, [], 1.0
        # The last token up to the cap is drawn behind a guess, and none needs to be guessed.
        for token, kind in zip(tokens[: self._left - 1], kinds, strict=False):
            chance *= rates[kind]
            if chance < worth:
                break
            self._guessed.append(token)
        self._fed = len(self._guessed)
        return self._guessed

    def drawn(self, count: int, last: int, rates: Rates) -> int:
        """Take what a step drew: guesses, then ``last``; how many that it was fed were right."""
        tokens = [*self._guessed[: count - 1], last]
        checked = [guess == token for guess, token in zip(self._guessed, tokens, strict=False)]
        for kind, is_right in zip(self._kinds, checked, strict=False):
            rates.add(kind, is_right)
        self._written.extend(self._text, tokens)
        self._left -= count
        self._not = None
        right = sum(checked[: self._fed])
        self._guessed, self._fed = [], 0
        return right


def best_width(
    chances: Sequence[Sequence[float]], widths: Sequence[int], rows: int, ridge: int
) -> int:
    """How many tokens to feed to each of ``rows`` rows, for most kept tokens in the same time.

    A step that feeds n tokens takes time in proportion to n + ``ridge``, and to `WAITED` more where
    it checks guesses, since the host cannot launch it ahead. It keeps one token of each row at
    work, and its guesses with the ``chances`` that `Guessing.foresee` has of them.
    """

    def speed(width: int) -> float:
        kept = sum(1 + sum(row[: width - 1]) for row in chances)
        waited = WAITED[0] + WAITED[1] * rows if width > 1 else 0
        return kept / (rows * width + waited + ridge)

    return max(widths, key=speed)
