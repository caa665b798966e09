"""When a string of tokens ends: with EOS, or when its text first holds a stop string.

So ending is a function of the string, and the distribution over strings that end is as well defined
as without stop strings. A string's text is its tokens' own texts one after the other, in bytes: how
much of a stop string it ends with is the state of an automaton (Aho & Corasick, "Efficient string
matching", CACM 1975), and what a token does to the state is a table, so that a device can follow it
without reading any text. Knows no tokenizer.
"""

from collections.abc import Collection, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Finish = Literal["eos", "stop", "length"]
"""How a string ended; ``length``: it was cut before it did."""

States = NDArray[np.int32]


class Ending:
    """The tokens ``eos`` end a string, and so does the first of ``stops`` that its text holds.

    ``texts`` are those of all tokens, by id; without stop strings they are not needed.

    Attributes
    ----------
    eos
        The tokens that end a string.
    table
        [states, tokens]: the state after a token, 0 being that of a string without tokens and the
        last one that of a string that holds a stop string. None without stop strings.
    """

    def __init__(
        self, eos: Collection[int], stops: Sequence[bytes] = (), texts: Sequence[bytes] = ()
    ) -> None:
        self.eos = frozenset(eos)
        self.table = _by_token(_by_byte(stops), texts) if stops else None
        self._longest = max(map(len, stops), default=0)
        self._has_text = np.array([len(text) > 0 for text in texts], bool)

    def state(self, tokens: NDArray[np.int64]) -> int:
        """The automaton's state after a string of which no proper part has ended."""
        if self.table is None:
            return 0
        # A stop string that the last token completes begins within so many tokens with a text.
        last = tokens[self._has_text[tokens]][-self._longest :]
        state = 0
        for token in last:
            state = int(self.table[state, token])
        return state

    def finish(self, tokens: NDArray[np.int64]) -> Finish:
        """How a string has ended of which no proper part has; ``length`` if it has not."""
        if len(tokens) and int(tokens[-1]) in self.eos:
            return "eos"
        stopped = self.table is not None and self.state(tokens) == len(self.table) - 1
        return "stop" if stopped else "length"

    def has_ended(self, tokens: NDArray[np.int64]) -> bool:
        """Whether a string of which no proper part has ended has."""
        return self.finish(tokens) != "length"


def _by_byte(stops: Sequence[bytes]) -> States:
    """The state [states, 256] after a byte; the last state is that of having held a stop string."""
    beginnings = {stop[:length] for stop in stops for length in range(len(stop))}
    states = {text: state for state, text in enumerate(sorted(beginnings, key=len))}
    held = len(states)
    after = np.full((held + 1, 256), held, np.int32)
    for text, state in states.items():
        # Where no stop string goes on with a byte, it is as after the text's longest such ending.
        endings = (text[start:] for start in range(1, len(text) + 1))
        after[state] = after[states[next(e for e in endings if e in states)]] if text else 0
        for byte in range(256):
            longer = text + bytes([byte])
            if longer.endswith(tuple(stops)):
                after[state, byte] = held
            elif longer in states:
                after[state, byte] = states[longer]
    return after


def _by_token(after_byte: States, texts: Sequence[bytes]) -> States:
    """The state [states, tokens] after a token of each text."""
    longest_first = sorted(range(len(texts)), key=lambda token: -len(texts[token]))
    lengths = np.array([len(texts[token]) for token in longest_first])
    states = np.arange(len(after_byte), dtype=np.int32)[:, None].repeat(len(texts), 1)
    for place in range(int(lengths.max(initial=0))):
        count = int((lengths > place).sum())
        bytes_there = [texts[token][place] for token in longest_first[:count]]
        states[:, :count] = after_byte[states[:, :count], bytes_there]
    table = np.empty_like(states)
    table[:, longest_first] = states
    return table
