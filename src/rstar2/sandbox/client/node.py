"""One server as its client sees it: how loaded it is, whether it lives, and the way to it.

Watches the server's health and gives up on all that is under way there when it is dead, or stuck. Decides
nothing about other nodes. Invariant: every call that is sent here is settled exactly once, every cell too.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from rstar2.sandbox.client.balance import Load
from rstar2.sandbox.client.connection import BadJob, Connection, Lost, Refused
from rstar2.sandbox.client.outbox import Call, Outbox
from rstar2.sandbox.client.stats import NodeStats
from rstar2.sandbox.client.vitals import Health, Vitals
from rstar2.sandbox.schema import CellOutcome, Outcome
from rstar2.types import ToolStatus

_log = logging.getLogger(__name__)

_RECHECK_S = 0.1
"""Pause before a suspect is asked again."""
_LATE_S = 0.5
"""A deadline that is noticed so much too late says that this process slept, and nothing of the server."""
_MOST_CELLS = 1024
"""Under way at a time, as each has a connection of its own; the others wait here."""


class GivenUp(Lost):
    """We hung up, as the server is dead, stuck or taken out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """When to send, and when to lose faith in a node."""

    linger_s: float = 0.003
    """How long a job waits for others to go with, unless nothing is under way."""
    check_every_s: float = 1.0
    check_deadline_s: float = 2.0
    patience_s: float = 60.0
    """How long no node may take jobs; and how long beyond its jobs' time limit a node may answer nothing."""


class Node:
    """A server, watched until `close`."""

    def __init__(
        self,
        connection: Connection,
        vitals: Vitals,
        timing: Timing,
        *,
        settle: Callable[["Node", Call, Outcome | BaseException], None],
        wake: Callable[[], None],
    ) -> None:
        """`wake` is called when the node may take jobs that it did not take before."""
        self.url = connection.url
        self.vitals = vitals
        self.load = Load()
        self.num_answered = 0
        self.trouble = ""
        """What went wrong last; empty if nothing ever did."""
        self._connection = connection
        self._timing = timing
        self._settle = settle
        self._wake = wake
        self._costs_s: dict[Call, float] = {}
        """Of what is under way, as it was added to the load."""
        self._outbox = Outbox(
            connection, linger_s=timing.linger_s, hand_back=self._hand_back, broke=self._broke
        )
        self._cells_s: dict[asyncio.Task[CellOutcome], float] = {}
        """Under way, with how long each may take."""
        self._cells_room = asyncio.Semaphore(_MOST_CELLS)
        self._loop = asyncio.get_running_loop()
        self._heard_s = self._loop.time()
        """When the last sign of progress came."""
        self._answered_s = self._loop.time()
        """When it last answered a check."""
        self._given_up = GivenUp(f"{connection.url} was given up")
        """Why, the last time."""
        self._is_idle = asyncio.Event()
        self._is_idle.set()
        self._check_now = asyncio.Event()
        self._watcher = asyncio.create_task(self._watch())

    def stats(self) -> NodeStats:
        return NodeStats(
            url=self.url,
            health=self.vitals.health,
            is_leaving=self.vitals.is_leaving,
            num_workers=self.load.num_workers,
            num_outstanding=self.load.num_jobs,
            num_answered=self.num_answered,
            trouble=self.trouble,
        )

    @property
    def down_s(self) -> float:
        """For how long it has answered nothing; 0 unless it is down."""
        if self.vitals.health is not Health.DOWN:
            return 0.0
        return self._loop.time() - max(self._answered_s, self._heard_s)

    def send(self, call: Call, cost_s: float) -> None:
        self._begin()
        self._costs_s[call] = cost_s
        self.load.add(cost_s)
        self._outbox.put(call)

    def drop(self, call: Call) -> None:
        """Nobody wants its answer, if it is here at all."""
        if call in self._costs_s:
            self._outbox.drop(call)

    async def run_cell(self, session_id: str, cell: bytes, *, limit_s: float) -> CellOutcome:
        """Post the JSON of a `Cell` that takes no longer; Lost, Refused or BadJob if it has no outcome."""
        async with self._cells_room:
            if self.vitals.health is Health.DOWN:  # since we waited
                raise Lost(f"{self.url} does not answer")
            self._begin()
            task = asyncio.create_task(self._connection.run_cell(session_id, cell))
            self._cells_s[task] = limit_s
            try:
                await asyncio.wait([task])
                outcome = self._outcome_of(task)
            finally:
                task.cancel()
                del self._cells_s[task]
                self._look_around()
        self._heard_s = self._loop.time()
        self._learn(outcome)
        return outcome

    async def end_session(self, session_id: str) -> None:
        """If it can be reached; a session that nobody uses ends by itself in the end."""
        with suppress(Lost, Refused, BadJob, TimeoutError):
            async with asyncio.timeout(self._timing.check_deadline_s):
                await self._connection.end_session(session_id)

    async def finish(self) -> None:
        """Take no more calls and wait until none is under way."""
        self.vitals.is_leaving = True
        await self._is_idle.wait()

    async def close(self) -> None:
        """Settle what is under way as lost, and hang up."""
        self.vitals.is_leaving = True
        self._watcher.cancel()
        self._give_up(GivenUp(f"{self.url} was taken out"))
        await self._outbox.close()
        with suppress(asyncio.CancelledError):
            await self._watcher

    # -- answers -----------------------------------------------------------------------------------

    def _hand_back(self, call: Call, answer: Outcome | BaseException) -> None:
        self.load.remove(self._costs_s.pop(call))
        if isinstance(answer, Outcome):
            self._heard_s = self._loop.time()
            self._learn(answer)
        self._look_around()
        self._settle(self, call, answer)

    def _outcome_of(self, task: asyncio.Task[CellOutcome]) -> CellOutcome:
        if task.cancelled():
            raise self._given_up
        error = task.exception()
        if error is not None:
            self._broke(error)
            raise error
        return task.result()

    def _begin(self) -> None:
        """Something is about to be sent."""
        if self._is_idle.is_set():
            self._heard_s = self._loop.time()
            self._is_idle.clear()

    def _look_around(self) -> None:
        """Notice that nothing is under way."""
        if not self._costs_s and not self._cells_s:
            self._is_idle.set()

    def _give_up(self, cause: GivenUp) -> None:
        """All that is under way is lost."""
        self._given_up = cause
        self._outbox.give_up(cause)
        for task in self._cells_s:
            task.cancel()

    def _learn(self, outcome: Outcome) -> None:
        if outcome.status is ToolStatus.INFRASTRUCTURE:
            self.trouble = outcome.stderr
            self._rest()
        else:
            self.num_answered += 1
            self.vitals.served()

    def _broke(self, error: BaseException) -> None:
        self.trouble = str(error)
        self._check_now.set()
        if isinstance(error, Refused):
            self._rest(error.retry_after_s)
        elif isinstance(error, Lost):
            self.vitals.lost_connection()
            self._rest()

    def _rest(self, at_least_s: float = 0.0) -> None:
        self.vitals.failed(self._loop.time(), at_least_s=at_least_s)
        self._loop.call_at(self.vitals.rest_until_s, self._wake)

    # -- health ------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        while True:
            await self._check()
            self._wake()
            self._check_now.clear()
            pause_s = _RECHECK_S if self.vitals.health is Health.SUSPECT else self._timing.check_every_s
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._check_now.wait()

    async def _check(self) -> None:
        """Ask for the health, and draw the consequences."""
        before, asked_s, deadline_s = self.vitals.health, self._loop.time(), self._timing.check_deadline_s
        try:
            health = await self._connection.health(deadline_s)
        except Lost as error:
            slept = self._loop.time() - asked_s > deadline_s + _LATE_S
            if slept or self._heard_s > asked_s:  # a server that answers jobs is only too busy for questions
                return
            self.trouble = str(error)
            self.vitals.missed_check()
        else:
            self._answered_s = self._loop.time()
            self.load.num_workers = self._outbox.num_workers = health.num_workers
            self.vitals.answered_check(is_draining=health.status != "ok")
        if self.vitals.health is not before:
            self._tell()
        if self.vitals.health is Health.DOWN:
            self._give_up(GivenUp(f"{self.url} does not answer"))
        elif self._is_stuck():
            self._give_up(GivenUp(f"{self.url} answers no job, though it says that it is well"))

    def _tell(self) -> None:
        if self.vitals.health is Health.DOWN:
            _log.warning("the sandbox server %s is down: %s", self.url, self.trouble)
        else:
            _log.info("the sandbox server %s is %s", self.url, self.vitals.health)

    def _is_stuck(self) -> bool:
        silent_s = self._loop.time() - self._heard_s - self._timing.patience_s
        longest_s = max(self._outbox.longest_limit_s(), *self._cells_s.values(), 0.0)
        return not self._is_idle.is_set() and silent_s > longest_s
