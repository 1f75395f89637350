"""Sessions: stateful Python, cell after cell, as in a notebook; one for each rollout that wants it.

    unknown --first cell--> live --idle for long, or others need the room--> asleep --next cell--> live
                              `--------------------- ended, or asleep for long: unknown -----'

A live session holds a process. An asleep one is only its cells, which the next cell has run again first; so
eviction costs time and no state, as far as cells depend on nothing but each other: global random generators
start from a seed of the session, while clocks, `os.urandom` and what is left running do not repeat.
"""

import asyncio
import hashlib
from functools import partial
from types import TracebackType
from typing import Self

from rstar2.errors import InputError
from rstar2.sandbox import descriptors
from rstar2.sandbox.history import NEXT, CellResult, Place, SessionsFull, bytes_to_remember
from rstar2.sandbox.interpreter import Interpreter
from rstar2.sandbox.jail import MOST_WORKERS
from rstar2.sandbox.paths import check_files
from rstar2.sandbox.pool import WorkerPool
from rstar2.sandbox.session import Session
from rstar2.types import Program

_MOST_SESSIONS = 10_000


class SessionPool:
    """The port `Sessions` on this machine; use as `async with SessionPool(pool) as sessions`.

    Its processes are forked from the pool's mother, and cells run beside the pool's calls: at most
    `pool.num_workers` at a time, those of one session in order of arrival.
    """

    def __init__(
        self,
        pool: WorkerPool,
        *,
        max_live: int = 64,
        idle_s: float = 300.0,
        forget_s: float = 3600.0,
        max_bytes: int = 256 << 20,
    ) -> None:
        """Live for `idle_s` after a cell, remembered `forget_s` longer; `max_bytes` of cells in all."""
        self._pool = pool
        self._max_live = max(max_live, pool.num_workers)
        if self._max_live > MOST_WORKERS:
            raise InputError(f"{max_live} live sessions are too many: use at most {MOST_WORKERS}")
        self._idle_s = idle_s
        self._forget_s = forget_s
        self._max_bytes = max_bytes
        self._num_bytes = 0
        self._sessions: dict[str, Session] = {}
        """The one used last comes last."""
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._permits = asyncio.Semaphore(pool.num_workers)
        self._running: set[Session] = set()
        self._free_slots = list(range(self._max_live))
        self._has_room = asyncio.Event()
        self._falling_asleep: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, frames: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def num_live(self) -> int:
        return self._max_live - len(self._free_slots)

    @property
    def num_known(self) -> int:
        return len(self._sessions)

    async def run_cell(self, session_id: str, program: Program, place: Place = NEXT) -> CellResult:
        """The next cell of the session, which the first one opens.

        SandboxError if the sandbox failed or has no room (SessionsFull), or the session is not where the cell
        continues (OutOfStep); InputError if it can never be run.
        """
        check_files(program)
        session = self._sessions.get(session_id) or self._new_session(session_id)
        async with session.turn:
            self._stop_timer(session_id)
            try:
                async with self._permits:
                    with descriptors.lack_is_told():
                        return await self._run(session, program, place)
            finally:
                self._start_timer(session_id, session)

    async def end(self, session_id: str) -> None:
        """Forget the session and end its processes; a cell that runs or waits raises SandboxError."""
        session = self._sessions.get(session_id)
        if session is not None:
            self._forget(session_id, session)
            session.end()
            await asyncio.shield(self._put_to_sleep(session))

    async def close(self) -> None:
        """End all sessions."""
        await asyncio.gather(*map(self.end, list(self._sessions)), *self._falling_asleep)

    def _new_session(self, session_id: str) -> Session:
        if len(self._sessions) >= _MOST_SESSIONS:
            raise SessionsFull(f"{_MOST_SESSIONS} sessions are open; end those that are done")
        digest = hashlib.sha256(session_id.encode("utf-8", "surrogatepass")).digest()
        session = Session(partial(self._start, seed=int.from_bytes(digest[:4])))
        self._sessions[session_id] = session
        return session

    async def _run(self, session: Session, program: Program, place: Place) -> CellResult:
        new = [program, *(cell.program for cell in place.past or ())]
        if self._num_bytes + sum(map(bytes_to_remember, new)) > self._max_bytes:
            raise SessionsFull("the cells of all sessions take too much memory; end those that are done")
        num_bytes_before = session.history.num_bytes
        self._running.add(session)
        try:
            return await session.run(program, place)
        finally:
            self._running.remove(session)
            self._num_bytes += session.history.num_bytes - num_bytes_before

    async def _start(self, session: Session, memory_limit_mb: int, *, seed: int) -> Interpreter:
        """A process for a session, in place of the one that was not used for longest if it must be."""
        while not self._free_slots:
            if (idlest := next(filter(self._is_idle, self._sessions.values()), None)) is not None:
                await idlest.sleep()
            else:  # one is just being put to sleep: fewer can run than live
                self._has_room.clear()
                await self._has_room.wait()
        number = self._free_slots.pop()
        give_back = partial(self._give_back, number)
        try:
            slot = await self._pool.extra_slot(number)
            try:
                return Interpreter(slot, memory_limit_mb=memory_limit_mb, seed=seed, on_closed=give_back)
            except BaseException:  # out of descriptors, say
                await slot.close()
                raise
        except BaseException:
            give_back()
            raise

    def _give_back(self, slot_number: int) -> None:
        self._pool.extra_slot_closed(slot_number)
        self._free_slots.append(slot_number)
        self._has_room.set()

    def _is_idle(self, session: Session) -> bool:
        return session.is_live and session not in self._running

    def _start_timer(self, session_id: str, session: Session) -> None:
        """It was used just now: it stays live for a while, and is remembered for a while longer."""
        if self._sessions.get(session_id) is session:
            self._sessions[session_id] = self._sessions.pop(session_id)
            timer = asyncio.get_running_loop().call_later(self._idle_s, self._on_idle, session_id, session)
            self._timers[session_id] = timer

    def _on_idle(self, session_id: str, session: Session) -> None:
        self._put_to_sleep(session)
        timer = asyncio.get_running_loop().call_later(self._forget_s, self._forget, session_id, session)
        self._timers[session_id] = timer

    def _put_to_sleep(self, session: Session) -> asyncio.Task[None]:
        """Between its cells, in a task of its own: it goes on if nobody waits for it any more."""

        async def sleep() -> None:
            async with session.turn:
                await session.sleep()

        task = asyncio.create_task(sleep())
        self._falling_asleep.add(task)
        task.add_done_callback(self._falling_asleep.discard)
        return task

    def _stop_timer(self, session_id: str) -> None:
        if (timer := self._timers.pop(session_id, None)) is not None:
            timer.cancel()

    def _forget(self, session_id: str, session: Session) -> None:
        self._stop_timer(session_id)
        del self._sessions[session_id]
        self._num_bytes -= session.history.num_bytes
