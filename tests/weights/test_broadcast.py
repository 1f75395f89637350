"""A sender here and receivers in processes of their own, some of which are lost."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from rstar2.errors import CheckpointError, EngineError
from rstar2.weights import BroadcastChannel, broadcasting, sender
from rstar2.weights.board import Board
from rstar2.weights.groups import Group, joined
from rstar2.weights.sender import Sender

LIMIT_S = 30.0
BUCKET_BYTES = 4096
"""So that `weights` take three."""


def weights(seed: int, *, width: int = 40) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {f"layer{i}": torch.rand(20, width, generator=generator) for i in range(3)}


def large() -> dict[str, Tensor]:
    """More than sockets take without a reader: who leaves in the middle is missed."""
    return weights(1, width=100_000)


def digest(tensors: dict[str, Tensor]) -> dict[str, float]:
    """What processes tell each other of tensors."""
    return {name: tensor.double().norm().item() for name, tensor in tensors.items()}


def receive(channel: BroadcastChannel, version: int) -> dict[str, float]:
    return digest(dict(channel.get(version)))


def die_after_the_first_bucket(channel: BroadcastChannel, version: int) -> None:
    def load(arriving: Iterator[tuple[str, Tensor]]) -> None:
        next(arriving)
        os.kill(os.getpid(), signal.SIGKILL)

    channel.receive(version, load)


def send_until_closed(channel: BroadcastChannel, version: int) -> str:
    channel.put(version, weights(version))
    while threading.active_count() > 1:
        time.sleep(0.01)
    return "retired"


Work = Callable[[BroadcastChannel, int], object]
Together = Callable[..., list[Connection]]


def work_when_told(connection: Connection, work: Work, channel: BroadcastChannel, version: int) -> None:
    connection.send("ready")
    connection.recv()
    connection.send(work(channel, version))


@pytest.fixture
def together(monkeypatch: pytest.MonkeyPatch) -> Iterator[Together]:
    """Works that begin at the same time, in a process each; what came of them is told by the connections."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2]))  # so that processes can import this module
    context = get_context("forkserver")
    context.set_forkserver_preload(["rstar2.weights"])  # a process that has torch already makes the others
    processes: list[BaseProcess] = []

    def together(channel: BroadcastChannel, version: int, *works: Work) -> list[Connection]:
        connections = []
        for work in works:
            ours, theirs = context.Pipe()
            process = context.Process(target=work_when_told, args=(theirs, work, channel, version))
            process.start()
            theirs.close()
            processes.append(process)
            connections.append(ours)
        assert [connection.recv() for connection in connections] == ["ready"] * len(works)
        for connection in connections:
            connection.send("go")
        return connections

    yield together
    for process in processes:
        process.kill()
        process.join()


@pytest.fixture
def channel() -> Iterator[BroadcastChannel]:
    with broadcasting(limit_s=LIMIT_S, bucket_bytes=BUCKET_BYTES) as channel:
        yield channel


@pytest.mark.integration
@pytest.mark.timeout(300)
def test_three_receivers_get_what_was_put(together: Together, channel: BroadcastChannel) -> None:
    channel.put(1, weights(1))
    told = together(channel, 1, receive, receive, receive)
    assert [connection.recv() for connection in told] == [digest(weights(1))] * 3


@pytest.mark.integration
@pytest.mark.timeout(300)
def test_one_that_dies_in_the_middle_costs_the_others_a_round_and_the_sender_nothing(
    together: Together, channel: BroadcastChannel, caplog: pytest.LogCaptureFixture
) -> None:
    replace(channel, quiet_s=1.0).put(1, large())
    victim, *told = together(channel, 1, die_after_the_first_bucket, receive, receive)
    assert [connection.recv() for connection in told] == [digest(large())] * 2
    with pytest.raises(EOFError):
        victim.recv()
    assert caplog.messages[0].startswith("a round of 3 receivers of weights broke off"), "they were in it"
    assert receive(channel, 1) == digest(large()), "the sender lives on"


def test_one_that_never_takes_its_seat_is_done_without() -> None:
    with broadcasting(limit_s=2.0) as channel:
        channel.put(1, weights(1))
        board = Board(channel.host, channel.port, limit_s=1.0)
        board.leave_ticket(board.offers()[0].number, "")
        assert receive(channel, 1) == digest(weights(1))


def test_who_comes_late_is_served_alone_as_long_as_the_version_is_kept(channel: BroadcastChannel) -> None:
    for version in (1, 2, 3):
        channel.put(version, weights(version))
        assert receive(channel, version) == digest(weights(version))
    assert receive(channel, 2) == digest(weights(2))
    with pytest.raises(CheckpointError, match=r"version 1 are gone; adopt one of \[2, 3\]"):
        channel.get(1)


def test_a_run_that_goes_back_puts_older_versions_again(channel: BroadcastChannel) -> None:
    for version, seed in ((3, 3), (5, 5), (4, 40)):
        channel.put(version, weights(seed))
    assert [receive(channel, version) for version in (3, 4)] == [digest(weights(3)), digest(weights(40))]
    with pytest.raises(CheckpointError, match="gone"):
        channel.get(5)


@pytest.mark.integration
@pytest.mark.timeout(300)
def test_the_sender_may_be_in_another_process(together: Together) -> None:
    with broadcasting(limit_s=LIMIT_S) as channel:
        (told,) = together(channel, 7, send_until_closed)
        while not Board(channel.host, channel.port, limit_s=1.0).offers():
            time.sleep(0.01)
        assert receive(channel, 7) == digest(weights(7))
    assert told.recv() == "retired"


def test_weights_that_arrive_otherwise_than_they_were_sent_are_refused(
    channel: BroadcastChannel,
) -> None:
    channel.put(1, weights(1))
    channel.checksum(1)  # from here on it is known what was put
    (sender,) = [thread for thread in threading.enumerate() if isinstance(thread, Sender)]
    _, buffer = sender._buckets[1]
    buffer[7] ^= 1
    with pytest.raises(EngineError, match="did not arrive as it was sent"):
        channel.get(1)


def test_weights_of_which_some_were_not_taken_are_refused(channel: BroadcastChannel) -> None:
    channel.put(1, weights(1))
    with pytest.raises(EngineError, match="did not arrive"):
        channel.receive(1, next)


def test_an_error_of_who_loads_is_its_own_and_costs_the_others_a_round(channel: BroadcastChannel) -> None:
    """At once, as a rule; after the limit, if gloo misses a loss while it begins to wait."""
    with ThreadPoolExecutor() as threads:
        replace(channel, quiet_s=1.0).put(1, large())
        refusal = threads.submit(channel.receive, 1, refuse_the_first)
        assert threads.submit(receive, channel, 1).result() == digest(large())
        with pytest.raises(RuntimeError, match="another model"):
            refusal.result()


def refuse_the_first(arriving: Iterator[tuple[str, Tensor]]) -> None:
    next(arriving)
    raise RuntimeError("another model")


def test_a_sender_whose_gpu_is_full_sends_in_the_next_round(monkeypatch: pytest.MonkeyPatch) -> None:
    rooms = iter([0, 1])

    @contextmanager
    def crowded(*args: Any, **options: Any) -> Iterator[Group]:
        with joined(*args, **options) as group:
            if not next(rooms):
                raise torch.OutOfMemoryError("CUDA out of memory")
            yield group

    monkeypatch.setattr(sender, "joined", crowded)
    with broadcasting(limit_s=2.0) as channel:
        channel.put(1, weights(1))
        assert receive(channel, 1) == digest(weights(1))


def test_who_finds_the_channel_closed_is_told_so() -> None:
    with broadcasting(limit_s=0.5) as channel:
        channel.put(1, weights(1))
    with pytest.raises(EngineError, match="nobody serves weights"):
        channel.get(1)


def test_a_closed_channel_leaves_no_thread() -> None:
    before = threading.active_count()
    with broadcasting() as channel:
        for version in range(5):
            channel.put(version, weights(version))
    while threading.active_count() > before:
        time.sleep(0.01)
