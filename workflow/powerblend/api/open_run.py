"""A batch that is never closed: requests come and go while it runs. Knows no threads."""

import logging
from collections.abc import Collection
from dataclasses import replace
from typing import Any

import numpy as np

from powerblend.api.generation import Generation, Request, Run
from powerblend.engine.memory import USABLE_MEMORY_SHARE, is_out_of_memory
from powerblend.engine.randomness import Stream
from powerblend.engine.scheduler import Finished, Job, LanguageModel, Scheduler, Speculation
from powerblend.samplers import Sampler

log = logging.getLogger(__name__)

MEMORY_SHARE = USABLE_MEMORY_SHARE / 2
"""Of the free memory; the rest is for batches of other ways of decoding, which come later."""


class OpenRun(Run):
    """Answers of one way of decoding, to prompts of at most ``longest_prompt`` tokens.

    A request's answer is that of `sample` with the same seed, whatever else is in the batch.
    ``rows`` are chains at once; None: as many as `MEMORY_SHARE` of the free memory holds.
    """

    def __init__(
        self,
        model: LanguageModel,
        sampler: Sampler,
        longest_prompt: int,
        rows: int | None,
        speculate: Speculation = "auto",
    ) -> None:
        super().__init__(model, [], sampler, 0, rows or 1, speculate)
        self.longest_prompt = longest_prompt
        self.rows = rows or self._decide_rows(longest_prompt, MEMORY_SHARE)
        self._unfinished: dict[int, Job] = {}  # by id()
        self._open: Scheduler | None = None

    @property
    def names(self) -> list[Any]:
        """Of the requests that are under way or wait."""
        return [job.name for job in self._unfinished.values()]

    @property
    def unfinished(self) -> int:
        """How many those are."""
        return len(self._unfinished)

    @property
    def waiting(self) -> int:
        """How many of them have no row yet."""
        return self.unfinished if self._open is None else self._open.waiting

    def submit(self, request: Request, seed: int, name: Any) -> None:
        """Take a request; `step` gives its answer with the name, which is hashable."""
        stream = Stream(seed, request.problem_id, request.sample)
        job = Job(np.asarray(request.prompt, np.int64), stream, name)
        self._unfinished[id(job)] = job
        if self._open is not None:
            self._open.submit(job)

    def cancel(self, names: Collection[Any]) -> None:
        """Forget the requests of these names, and free their rows."""
        for job in [job for job in self._unfinished.values() if job.name in names]:
            del self._unfinished[id(job)]
        if self._open is not None:
            self._open.cancel(names)

    def step(self) -> list[tuple[Any, Generation]]:
        """Advance every row by a token; the answers that this finished, by name.

        Where memory ends, what is not finished starts again with half the rows, which changes no
        answer.
        """
        try:
            self._open = self._open or self._opened()
            finished = next(self._open.run(), [])
        except RuntimeError as error:
            if not is_out_of_memory(error) or self.rows == 1:
                raise
            self._open = None
            self.rows = min(self.rows, self.unfinished) // 2 or 1
            log.warning("out of memory: going on with %d rows", self.rows)
            return []
        wanted = [f for f in finished if self._unfinished.pop(id(f.job), None) is not None]
        return [(f.job.name, self._generation(f)) for f in wanted]

    def _opened(self) -> Scheduler:
        scheduler = self._scheduler([], self.longest_prompt)
        for job in self._unfinished.values():
            scheduler.submit(job)
        return scheduler

    def _generation(self, finished: Finished) -> Generation:
        """The answer, with the log-probability of each token as it was drawn."""
        log_p = finished.answer.state.log_p.tolist()
        return replace(super()._generation(finished), token_log_p=log_p)
