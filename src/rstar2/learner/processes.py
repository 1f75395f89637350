"""Ranks as processes of this machine, which end together.

    parent   call -> one pickle -> a pipe per rank ....... all answers, or the end of all ranks
    rank     join the group -> build -> (receive -> run -> answer) until the pipe closes

A rank is lost if it ends, or fails where others do not: then all are killed within seconds, since the others
would wait for it in a collective. If a call takes too long, one of them hangs, and all are killed, too. No
rank outlives its parent, however that ends.
"""

import os
import pickle
import signal
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any, NoReturn

import torch.distributed as dist

from rstar2.errors import LearnerError
from rstar2.learner.crew import RankFactory, lost, no_answer
from rstar2.learner.rendezvous import DeviceType, join

_AGREEMENT_S = 5.0
"""After one rank's failure, how long the others have to fail alike, or to turn out to be lost."""
_LEAVE_S = 10.0
"""For ranks to end by themselves once their pipes are closed."""


@dataclass(frozen=True, slots=True)
class _Answer:
    """Of one rank to one call: a value or an error."""

    value: Any = None
    error: Exception | None = None


@dataclass(frozen=True, slots=True)
class _Rank:
    """One process, as its parent sees it."""

    number: int
    process: SpawnProcess
    connection: Connection


class ProcessCrew:
    """Implements `Crew`. Ranks start anew, with nothing of this process but what `factory` carries."""

    def __init__(
        self,
        factory: RankFactory,
        num_ranks: int,
        *,
        hang_limit_s: float,
        device_type: DeviceType = "cpu",
    ) -> None:
        """`hang_limit_s` is the longest that a call may take, or the building of the ranks."""
        self._folder = tempfile.TemporaryDirectory(prefix="rstar2-ranks-")
        store = (Path(self._folder.name) / "store").as_uri()
        self._ranks: list[_Rank] = []
        self._hang_limit_s, self._is_hung = hang_limit_s, False
        meet = partial(join, store, num_ranks=num_ranks, device_type=device_type, hang_limit_s=hang_limit_s)
        try:
            with self._watched():
                for number in range(num_ranks):
                    build = partial(_build, partial(meet, rank=number), partial(factory, number, num_ranks))
                    self._ranks.append(_start(number, build))
                self._values()
        except BaseException:
            self.close()
            raise

    def call(self, method: str, *args: object, **kwargs: object) -> list[Any]:
        if not self._ranks:
            raise LearnerError("the learner's ranks have ended: build the learner anew")
        request = ForkingPickler.dumps((method, args, kwargs))  # once, however many ranks
        with self._watched():
            for rank in self._ranks:
                try:
                    rank.connection.send_bytes(request)
                except ConnectionError:
                    self._lose(rank)
            return self._values()

    def close(self) -> None:
        for rank in self._ranks:
            rank.connection.close()
        self._end(patience_s=_LEAVE_S)

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """Ranks are killed at the limit, which is then noticed like any loss.

        By a thread, as whoever calls may itself hang: a rank that does not read fills its pipe.
        """
        watchdog = threading.Timer(self._hang_limit_s, self._kill_hung)
        watchdog.start()
        try:
            yield
        finally:
            watchdog.cancel()

    def _kill_hung(self) -> None:
        self._is_hung = True
        for rank in self._ranks:
            with suppress(ValueError):  # closed in this moment
                rank.process.kill()

    def _values(self) -> list[Any]:
        """What every rank answers to the call that all were sent; an error if all agree on one."""
        answers = self._answers()
        errors = {number: answer.error for number, answer in answers.items() if answer.error is not None}
        if errors:
            first = min(errors)
            if len(errors) == len(self._ranks):
                raise errors[first]
            self._lose(self._ranks[first], errors[first])
        return [answers[rank.number].value for rank in self._ranks]

    def _answers(self) -> dict[int, _Answer]:
        """By rank, the first come first; fewer than all if some failed and others then kept silent."""
        answers: dict[int, _Answer] = {}
        deadline_s: float | None = None
        while pending := [rank for rank in self._ranks if rank.number not in answers]:
            patience_s = None if deadline_s is None else max(0.0, deadline_s - time.monotonic())
            ready = wait([rank.connection for rank in pending], patience_s)
            if not ready:
                break
            for rank in pending:
                if rank.connection in ready:
                    answers[rank.number] = self._answer(rank)
                    if answers[rank.number].error and deadline_s is None:
                        deadline_s = time.monotonic() + _AGREEMENT_S
        return answers

    def _answer(self, rank: _Rank) -> _Answer:
        try:
            answer: _Answer = rank.connection.recv()
        except (EOFError, ConnectionError):
            self._lose(rank)
        return answer

    def _lose(self, rank: _Rank, error: Exception | None = None) -> NoReturn:
        """End the crew because of this rank, which failed alone with `error` or is gone."""
        what = f"learner rank {rank.number} of {len(self._ranks)}"
        if self._is_hung:
            what = no_answer(self._hang_limit_s)
        elif error is None:
            rank.process.join(1.0)
            what += f" ended (exit code {rank.process.exitcode})"
        else:
            what += f" failed alone ({error!r})"
        self._end(patience_s=0.0)
        raise lost(what) from error

    def _end(self, *, patience_s: float) -> None:
        deadline_s = time.monotonic() + patience_s
        for rank in self._ranks:
            rank.process.join(max(0.0, deadline_s - time.monotonic()))
        for rank in self._ranks:
            rank.process.kill()
            rank.process.join()
            rank.process.close()
            rank.connection.close()
        self._ranks = []
        self._folder.cleanup()


def _start(number: int, build: Callable[[], object]) -> _Rank:
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    # A daemon, so that an interpreter that is told to exit does not wait for it.
    process = context.Process(target=_serve, args=(theirs, build), name=f"learner-{number}", daemon=True)
    process.start()
    theirs.close()  # from here on, the pipe closes when the rank ends
    return _Rank(number, process, ours)


def _serve(connection: Connection, build: Callable[[], object]) -> None:
    """A rank's process, until its parent closes the pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all of a terminal; the parent decides
    threading.Thread(target=_end_with_parent, daemon=True).start()
    built = _answer(build)
    connection.send(_Answer(error=built.error))
    with suppress(EOFError, ConnectionError):
        while built.error is None:
            connection.send(_answer(partial(_run, built.value, connection.recv_bytes())))
    dist.destroy_process_group()


def _build(meet: Callable[[], None], build: Callable[[], object]) -> object:
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # all are on this machine
    meet()
    return build()


def _run(target: object, request: bytes) -> object:
    method, args, kwargs = pickle.loads(request)
    return getattr(target, method)(*args, **kwargs)


def _answer(work: Callable[[], object]) -> _Answer:
    try:
        return _Answer(value=work())
    except Exception as error:  # whatever it is, the parent must hear of it
        error.add_note(traceback.format_exc())
        return _Answer(error=error)


def _end_with_parent() -> None:
    """Also in the middle of a collective, where nobody looks at the pipe."""
    parent = parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)
