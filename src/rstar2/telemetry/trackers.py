"""The numbers of a run in trackers too, which may fail and lag without the run taking notice.

    record -> queue -> one thread -> TensorBoard, Weights & Biases

Whoever records never waits: what does not fit into the queue is dropped and counted, and a sink that fails
is told of once and left out. metrics.jsonl stays the truth; trackers show it.
"""

import logging
import queue
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Protocol, Self

_log = logging.getLogger(__name__)

_MOST_WAITING = 10_000
"""Records in the queue."""
_GOODBYE_S = 30.0
"""For sinks to write what is left when the run ends."""
_SUPERVISED = ("base", "sft")
_EVALUATION = "evaluation"


class Sink(Protocol):
    """One tracker, used by one thread."""

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Numbers after so many optimizer steps of the run."""

    def close(self) -> None: ...


Open = Callable[[int], Sink]
"""Of a sink, given the steps that are done: what a killed run told of later ones is to be forgotten."""
_Record = tuple[int, Mapping[str, float]]


class Trackers:
    """Hands numbers to the sinks, by name; without any it does nothing."""

    def __init__(self, sinks: Mapping[str, Open] | None = None) -> None:
        self._openers = dict(sinks or {})
        self._waiting: queue.Queue[_Record | None] = queue.Queue(_MOST_WAITING)
        self._thread: threading.Thread | None = None
        self.num_dropped = 0

    def begin(self, num_steps: int) -> None:
        """The run starts, or goes on, after so many steps."""
        assert self._thread is None, "a run begins once"
        if self._openers:
            # A daemon: a tracker that hangs must not keep the program from ending.
            self._thread = threading.Thread(target=self._work, args=[num_steps], name="trackers", daemon=True)
            self._thread.start()

    def record(self, phase: str, num_steps: int, values: Mapping[str, object]) -> None:
        """What is a number of `values`; all stages share names, so that they share curves."""
        if self._thread is None:
            return
        group = phase if phase in (*_SUPERVISED, _EVALUATION) else "rl"
        numbers = {f"{group}/{name}": float(v) for name, v in values.items() if isinstance(v, int | float)}
        try:
            self._waiting.put_nowait((num_steps, numbers))
        except queue.Full:
            self.num_dropped += 1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let the sinks write what is left; gives up on them after a while."""
        if self._thread is None:
            return
        try:
            self._waiting.put(None, timeout=_GOODBYE_S)
            self._thread.join(_GOODBYE_S)
        except queue.Full:
            pass
        if self._thread.is_alive():
            _log.warning("the trackers take too long: what they miss is in metrics.jsonl")
        if self.num_dropped:
            _log.warning("%d records were dropped, as the trackers lagged", self.num_dropped)
        self._thread = None

    def _work(self, num_steps: int) -> None:
        sinks: dict[str, Sink] = {}
        for name, open_sink in self._openers.items():
            with _surviving(name):
                sinks[name] = open_sink(num_steps)
        while (record := self._waiting.get()) is not None:
            for name, sink in list(sinks.items()):
                with _surviving(name):
                    sink.write(*record)
                    continue
                del sinks[name]
        for name, sink in sinks.items():
            with _surviving(name):
                sink.close()


@contextmanager
def _surviving(name: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # whatever a tracker raises is survivable: the run does not need it
        _log.warning("%s gets no more numbers (%s); metrics.jsonl has them all", name, error)
