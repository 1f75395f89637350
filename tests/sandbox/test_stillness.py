"""What tells that a process stands still, seen on a real one."""

import signal
import subprocess
import time
from collections.abc import Iterator

import pytest

from rstar2.sandbox.stillness import Onlooker, Sight, is_still


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


def _seen_in(state: bytes, process: subprocess.Popen[bytes]) -> Sight:
    """What is seen of the process alone as soon as it is in the state."""
    own, onlooker, deadline_s = b"%d" % process.pid, Onlooker(), time.monotonic() + 5
    while (seen := onlooker.look().get(own, (b"", b"")))[0] != state:
        assert time.monotonic() < deadline_s
    onlooker.close()
    return {own: seen}


def test_a_process_is_still_if_it_is_stopped_and_did_not_run_between_two_looks(
    sleeper: subprocess.Popen[bytes],
) -> None:
    asleep = _seen_in(b"S", sleeper)
    assert not is_still(asleep, asleep, states=b"T")
    sleeper.send_signal(signal.SIGSTOP)
    stopped = _seen_in(b"T", sleeper)
    assert is_still(stopped, _seen_in(b"T", sleeper), states=b"T")
    sleeper.send_signal(signal.SIGCONT)
    _seen_in(b"S", sleeper)
    sleeper.send_signal(signal.SIGSTOP)
    assert not is_still(stopped, _seen_in(b"T", sleeper), states=b"T")
    sleeper.kill()
    assert _seen_in(b"Z", sleeper) != stopped
