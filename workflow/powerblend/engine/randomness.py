"""Uniform random numbers addressed by what they are for, never by when they are drawn.

A chain owns one stream. A number is addressed by (role, stage, step, position), so a chain's draws
do not depend on the batch, the shard, the order of the problems or an interruption, and two
conditions with the same seed see the same numbers (a paired comparison). Knows no torch.
"""

import hashlib
from copy import copy
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

PHILOX = np.random.Philox(0)
"""One for all streams: to address it takes a fraction of the time that it takes to make one."""

GENERATOR = np.random.Generator(PHILOX)

PHILOX_START = PHILOX.state
"""Its state with nothing drawn, but for the address."""


class Role(IntEnum):
    """What a uniform decides."""

    TOKEN = 0
    CUT = 1
    ACCEPT = 2
    SWAP = 3
    RESAMPLE = 4
    ANSWER = 5


STRING_SHIFT, ATTEMPT_SHIFT = 32, 8
"""Bits of the counter's second word at which the numbers of a string and of an attempt begin."""


class Stream:
    """The random numbers of one answer: Philox4x64 keyed by (seed, problem, sample).

    Its first string's; `of` gives those of its other strings, and of several attempts at a move.

    Philox is counter-based (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011):
    the counter is the address, so any number can be had without drawing the ones before it.
    """

    def __init__(self, seed: int, problem_id: str, sample: int) -> None:
        identity = f"{seed}\x1f{problem_id}\x1f{sample}".encode()
        self._key = np.frombuffer(hashlib.sha256(identity).digest()[:16], dtype=np.uint64)
        self._string = 0

    def of(self, string: int = 0, attempt: int = 0) -> "Stream":
        """The numbers of another string, or attempt, of the answer: none is one of this stream's.

        String 0 and attempt 0 are the stream itself.
        """
        other = copy(self)
        other._string = self._string + (string << STRING_SHIFT) + (attempt << ATTEMPT_SHIFT)
        return other

    def uniforms(self, role: Role, stage: int, step: int, count: int) -> NDArray[np.float64]:
        """Uniforms in [0, 1) of positions 0 to ``count`` - 1 for one role in one move.

        A longer request begins with the numbers of a shorter one.
        """
        counter = np.array([0, self._string + role, step, stage], dtype=np.uint64)
        with PHILOX.lock:
            PHILOX.state = PHILOX_START | {"state": {"counter": counter, "key": self._key}}
            return GENERATOR.random(count)

    def uniform(self, role: Role, stage: int, step: int) -> float:
        """One uniform in [0, 1)."""
        return float(self.uniforms(role, stage, step, 1)[0])
