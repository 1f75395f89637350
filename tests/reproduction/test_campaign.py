"""Trials are processes: each runs once, in time, and what fails or is stopped leaves the others whole."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rstar2.errors import InfrastructureError
from rstar2.reproduction.arms import FOUNDATION, Arm
from rstar2.reproduction.campaign import LOG, run_missing
from rstar2.reproduction.trials import Trial, trials_of

CONFIG = Path(__file__).parents[2] / "configs" / "reproduce.toml"
ARMS = [Arm(name=name, title=name, foundation=FOUNDATION) for name in ("a", "b")]
TRIALS = trials_of(ARMS, range(2))

# Stands in for `rstar2 train CONFIG --run FOLDER`: appends its folder to the file that CONFIG names.
_STUB = """
import sys
config, folder = sys.argv[2], sys.argv[4]
with open(config, "a") as journal:
    journal.write(folder + "\\n")
print("trained", folder)
if folder.endswith({failing!r}):
    sys.exit("out of luck")
"""


def stub(failing: str = "nobody") -> list[str]:
    return [sys.executable, "-c", _STUB.format(failing=failing)]


def begun(journal: Path) -> list[str]:
    return ["/".join(Path(line).parts[-2:]) for line in journal.read_text().splitlines()]


def test_every_trial_runs_once_after_its_foundation_and_not_again(tmp_path: Path) -> None:
    journal, told = tmp_path / "journal", list[Trial]()
    for _ in range(2):
        run_missing(TRIALS, config=journal, root=tmp_path, num_at_once=2, program=stub(), on_done=told.append)
    order = begun(journal)
    assert sorted(order) == sorted(f"seed-{t.seed}/{t.arm.name}" for t in TRIALS)
    for seed in (0, 1):
        assert order.index(f"seed-{seed}/foundation") < order.index(f"seed-{seed}/a")
    assert len(told) == 2 * len(TRIALS), "what is done is told again, so that a bar starts where it was"


def test_a_trial_that_fails_is_named_with_its_last_words_and_tried_again_next_time(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    with pytest.raises(InfrastructureError, match=r"seed-0/a failed \(out of luck\): see .*log\.txt"):
        run_missing(TRIALS, config=journal, root=tmp_path, num_at_once=1, program=stub("seed-0/a"))
    assert begun(journal) == ["seed-0/foundation", "seed-0/a"]
    run_missing(TRIALS, config=journal, root=tmp_path, num_at_once=1, program=stub())
    assert begun(journal).count("seed-0/a") == 2
    assert begun(journal).count("seed-0/foundation") == 1


# The first seed's trial runs on until it is told to stop; the second's fails once the first has begun.
_SLEEPER = """
import signal, sys, time
from pathlib import Path
begun = Path(sys.argv[2]) / "begun"
if "seed-1" in sys.argv[4]:
    while not begun.exists(): time.sleep(0.01)
    sys.exit(3)
signal.signal(signal.SIGTERM, lambda *_: sys.exit("told to stop"))
begun.touch()
time.sleep(60)
"""


def test_trials_that_run_beside_a_failure_are_stopped(tmp_path: Path) -> None:
    program = [sys.executable, "-c", _SLEEPER]
    with pytest.raises(InfrastructureError, match="seed-1/foundation failed"):
        run_missing(TRIALS, config=tmp_path, root=tmp_path, num_at_once=2, program=program)
    assert "told to stop" in (tmp_path / "seed-0" / "foundation" / "log.txt").read_text()


# Told to end, it takes half a second to close what it has; told twice, it does not get to that.
_CAREFUL = """
import signal, time
signal.signal(signal.SIGTERM, signal.default_int_handler)
try:
    print("begun", flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    print("told to end", flush=True)
    time.sleep(0.5)
    print("closed", flush=True)
"""

# `rstar2 reproduce`, with a program of its own in place of `rstar2 train`.
_CAMPAIGN = """
import sys
from functools import partial
from rstar2.cli import main
from rstar2.reproduction import run_missing
from rstar2.verbs import reproduce
reproduce.run_missing = partial(run_missing, program=[sys.executable, "-c", sys.argv.pop()])
main()
"""


@contextmanager
def campaign_with_a_trial(
    folder: Path, *, on_ctrl_c: signal.Handlers = signal.SIG_DFL
) -> Iterator[tuple["subprocess.Popen[str]", Path]]:
    """In a process group of its own, as a terminal's jobs are; and the log of its trial, which has begun."""
    log = folder / "seed-0" / "foundation" / LOG
    words = ["reproduce", str(CONFIG), "--to", str(folder), "--quick", "--at-once", "1"]
    with subprocess.Popen(
        [sys.executable, "-c", _CAMPAIGN, *words, _CAREFUL],
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
        preexec_fn=lambda: signal.signal(signal.SIGINT, on_ctrl_c),
    ) as campaign:
        try:
            wait_for("begun", log)
            yield campaign, log
        finally:
            campaign.kill()


def wait_for(word: str, log: Path) -> None:
    deadline = time.monotonic() + 60
    while not log.exists() or word not in log.read_text().splitlines():
        assert time.monotonic() < deadline, f"the trial never said '{word}'"
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("send", "number", "on_ctrl_c"),
    [
        pytest.param(os.killpg, signal.SIGINT, signal.SIG_DFL, id="Ctrl-C in a terminal"),
        pytest.param(os.kill, signal.SIGTERM, signal.SIG_IGN, id="kill of a script's background job"),
    ],
)
def test_a_campaign_that_is_stopped_waits_until_its_trials_have_closed_what_they_have(
    tmp_path: Path, send: Callable[[int, int], None], number: int, on_ctrl_c: signal.Handlers
) -> None:
    with campaign_with_a_trial(tmp_path, on_ctrl_c=on_ctrl_c) as (campaign, log):
        send(campaign.pid, number)
        _, errors = campaign.communicate()
    assert (campaign.returncode, errors) == (130, "\nstopped; run the same command to go on\n")
    assert "closed" in log.read_text().splitlines()


def test_a_campaign_that_is_killed_leaves_no_trial_behind(tmp_path: Path) -> None:
    with campaign_with_a_trial(tmp_path) as (campaign, log):
        campaign.kill()
        wait_for("told to end", log)
