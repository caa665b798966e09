"""The thread in which the model computes: it takes requests at any time, and steps while it can.

Each way of decoding has a batch of its own, which are advanced in turn, a token of each. Knows no
HTTP: whoever waits holds a `concurrent.futures.Future`, and cancels it who does not.
"""

import logging
import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial

import torch

from powerblend.api.generation import Generation, Request
from powerblend.api.open_run import OpenRun
from powerblend.engine.scheduler import LanguageModel, Speculation
from powerblend.samplers import Sampler

log = logging.getLogger(__name__)

MAX_BATCHES = 4
"""Ways of decoding at once: each has a cache. The next one waits until one of them is idle."""

SHORTEST_ROOM = 256
"""Prompt tokens for which a batch has room at least, so that most prompts share one."""


PATIENCE = 5.0
"""Seconds that the end waits for the step under way: prompts of many rows may take longer."""


class QueueFull(Exception):
    """There are as many answers waiting as may be."""


class Stopped(Exception):
    """The server ends."""


@dataclass(eq=False)
class Ticket:
    """An answer to make, and the future in which it will be."""

    request: Request
    sampler: Sampler
    seed: int
    answer: Future[Generation] = field(default_factory=Future)


class EngineThread:
    """Runs tickets through a model.

    ``rows`` are chains at once in a batch, None: as many as the free memory holds; ``max_waiting``
    answers may wait for a row.
    """

    def __init__(
        self,
        model: LanguageModel,
        rows: int | None = None,
        max_waiting: int = 1024,
        speculate: Speculation = "auto",
    ) -> None:
        self.max_waiting = max_waiting
        self._model, self._rows, self._speculate = model, rows, speculate
        self._batches: dict[tuple[str, int], OpenRun] = {}  # the one used last is the last
        self._arrived: deque[Ticket] = deque()
        self._dropped: deque[Ticket] = deque()
        self._tickets: set[Ticket] = set()  # in batches
        self._something_to_do = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    def start(self) -> None:
        """Begin to compute."""
        self._thread.start()

    def stop(self) -> None:
        """End after the step under way, if that is soon; whoever still waits is told."""
        with self._something_to_do:
            self._stopping = True
            self._something_to_do.notify()
        self._thread.join(PATIENCE)

    @property
    def waiting(self) -> int:
        """Answers that have no row yet."""
        return len(self._arrived) + sum(batch.waiting for batch in list(self._batches.values()))

    @property
    def running(self) -> int:
        """Answers that have one."""
        return sum(batch.unfinished - batch.waiting for batch in list(self._batches.values()))

    def submit(self, tickets: Sequence[Ticket]) -> None:
        """Take tickets, all or none.

        Raises
        ------
        QueueFull
            If too many wait.
        Stopped
            If the thread has ended, or is about to.
        """
        with self._something_to_do:
            if self._stopping:
                raise Stopped
            if self.waiting + len(tickets) > self.max_waiting:
                raise QueueFull
            for ticket in tickets:
                ticket.answer.add_done_callback(partial(self._note, ticket))
            self._arrived.extend(tickets)
            self._something_to_do.notify()

    def _note(self, ticket: Ticket, answer: Future[Generation]) -> None:
        """Keep a ticket in mind for which nobody waits any more."""
        if answer.cancelled():
            with self._something_to_do:
                self._dropped.append(ticket)
                self._something_to_do.notify()

    def _run(self) -> None:
        torch.set_flush_denormal(True)  # as `load_model`: it is a setting of each thread
        while self._wait():
            self._forget_dropped()
            self._place_arrived()
            for batch in [batch for batch in self._batches.values() if batch.unfinished]:
                self._step(batch)
        for ticket in [*self._arrived, *self._tickets]:
            self._fail(ticket, Stopped())

    def _wait(self) -> bool:
        """Until there is something to do; False once it is to end."""
        with self._something_to_do:
            self._something_to_do.wait_for(
                lambda: self._stopping or self._arrived or self._dropped or self._tickets
            )
            return not self._stopping

    def _forget_dropped(self) -> None:
        gone = {self._dropped.popleft() for _ in range(len(self._dropped))}
        if not gone:
            return
        self._tickets -= gone
        with self._something_to_do:
            self._arrived = deque(ticket for ticket in self._arrived if ticket not in gone)
        for batch in self._batches.values():
            batch.cancel(gone)

    def _place_arrived(self) -> None:
        """Give arrived tickets to batches, in their order: none is overtaken for ever."""
        while self._arrived:
            try:
                batch = self._batch_for(self._arrived[0])
            except Exception as error:  # the model has no such layer, or no draft
                self._fail(self._arrived.popleft(), error)
                continue
            if batch is None:
                return
            ticket = self._arrived.popleft()
            self._tickets.add(ticket)
            batch.submit(ticket.request, ticket.seed, ticket)

    def _batch_for(self, ticket: Ticket) -> OpenRun | None:
        """The batch of a ticket's way of decoding; None if there can be none now."""
        room = max(SHORTEST_ROOM, 1 << (len(ticket.request.prompt) - 1).bit_length())
        key = ticket.sampler.model_dump_json(), room
        if key in self._batches:
            self._batches[key] = self._batches.pop(key)
            return self._batches[key]
        if len(self._batches) >= MAX_BATCHES and not self._close_idle():
            return None
        self._batches[key] = OpenRun(self._model, ticket.sampler, room, self._rows, self._speculate)
        return self._batches[key]

    def _close_idle(self) -> bool:
        """Give back the memory of the batch that has been idle longest, if one is."""
        idle = [key for key, batch in self._batches.items() if not batch.unfinished]
        if idle:
            del self._batches[idle[0]]
        return bool(idle)

    def _step(self, batch: OpenRun) -> None:
        try:
            finished = batch.step()
        except Exception as error:  # its requests are told; others go on
            log.exception("a batch has failed")
            self._give_up(batch, error)
            return
        for ticket, generation in finished:
            self._tickets.discard(ticket)
            if ticket.answer.set_running_or_notify_cancel():
                ticket.answer.set_result(generation)

    def _give_up(self, batch: OpenRun, error: Exception) -> None:
        """Fail all of a batch's tickets."""
        self._batches = {key: b for key, b in self._batches.items() if b is not batch}
        for ticket in batch.names:
            self._tickets.discard(ticket)
            self._fail(ticket, error)

    def _fail(self, ticket: Ticket, error: Exception) -> None:
        if ticket.answer.set_running_or_notify_cancel():
            ticket.answer.set_exception(error)
