import logging
import threading
import time
from collections.abc import Mapping

import pytest

from rstar2.telemetry import trackers as module
from rstar2.telemetry.trackers import Trackers


class Notebook:
    """A sink that remembers."""

    def __init__(self, num_steps: int = 0) -> None:
        self.num_steps = num_steps
        self.lines: list[tuple[int, Mapping[str, float]]] = []
        self.is_closed = False

    def write(self, step: int, values: Mapping[str, float]) -> None:
        self.lines.append((step, values))

    def close(self) -> None:
        self.is_closed = True


class Broken(Notebook):
    """Fails at its second record."""

    def write(self, step: int, values: Mapping[str, float]) -> None:
        super().write(step, values)
        if len(self.lines) == 2:
            raise OSError("disk full")


def test_numbers_arrive_in_order_under_names_that_stages_share():
    notebook = Notebook()
    with Trackers({"notebook": lambda num_steps: notebook}) as trackers:
        trackers.begin(0)
        trackers.record("sft", 1, {"loss": 2})
        trackers.record("rl1", 2, {"reward": 0.5})
        trackers.record("rl2", 3, {"reward": 0.75})
        trackers.record("evaluation", 3, {"name": "rl2", "pass_at_1": 1.0, "pass_at_1_ci95": [0.9, 1.0]})
    assert notebook.lines == [
        (1, {"sft/loss": 2.0}),
        (2, {"rl/reward": 0.5}),
        (3, {"rl/reward": 0.75}),
        (3, {"evaluation/pass_at_1": 1.0}),
    ]
    assert notebook.is_closed


def test_a_resumed_run_tells_how_far_it_had_come():
    opened = []
    with Trackers(
        {"notebook": lambda num_steps: opened.append(Notebook(num_steps)) or opened[0]}
    ) as trackers:
        trackers.begin(7)
    assert opened[0].num_steps == 7


def test_a_sink_that_fails_is_told_of_once_and_the_others_go_on(caplog):
    broken, notebook = Broken(), Notebook()
    with Trackers({"broken": lambda _: broken, "notebook": lambda _: notebook}) as trackers:
        trackers.begin(0)
        for step in range(1, 6):
            trackers.record("rl1", step, {"reward": 1.0})
    assert [step for step, _ in broken.lines] == [1, 2]
    assert [step for step, _ in notebook.lines] == [1, 2, 3, 4, 5]
    (told,) = caplog.records
    assert "broken gets no more numbers (disk full)" in told.message


def test_a_sink_that_cannot_be_opened_does_not_stop_the_run(caplog):
    def refuse(num_steps: int) -> Notebook:
        raise ConnectionError("no network")

    notebook = Notebook()
    with Trackers({"refuse": refuse, "notebook": lambda _: notebook}) as trackers:
        trackers.begin(0)
        trackers.record("rl1", 1, {"reward": 1.0})
    assert len(notebook.lines) == 1
    assert "no network" in caplog.text


def test_a_sink_that_hangs_neither_slows_the_run_nor_keeps_it_from_ending(monkeypatch, caplog):
    monkeypatch.setattr(module, "_GOODBYE_S", 0.05)
    monkeypatch.setattr(module, "_MOST_WAITING", 3)
    is_free = threading.Event()

    class Hanging(Notebook):
        def write(self, step: int, values: Mapping[str, float]) -> None:
            is_free.wait(60)

    began = time.monotonic()
    with Trackers({"hanging": lambda _: Hanging()}) as trackers, caplog.at_level(logging.WARNING):
        trackers.begin(0)
        for step in range(50):
            trackers.record("rl1", step, {"reward": 1.0})
    assert time.monotonic() - began < 10
    assert trackers.num_dropped >= 50 - 3 - 1
    assert "take too long" in caplog.text
    is_free.set()


def test_without_sinks_there_is_no_thread():
    before = threading.active_count()
    with Trackers() as trackers:
        trackers.begin(0)
        trackers.record("rl1", 1, {"reward": 1.0})
        assert threading.active_count() == before


def test_a_run_is_begun_once():
    with Trackers({"notebook": Notebook}) as trackers:
        trackers.begin(0)
        with pytest.raises(AssertionError):
            trackers.begin(0)
