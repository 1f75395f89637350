"""Runs the trials that are missing, some at a time, each as a process of its own; a kill loses little.

Every trial is an ordinary training run, which goes on from its last checkpoint: the same campaign started
again does what is left. A trial that fails ends the campaign, after those that run were stopped; and none
outlives it, however it ends.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from rstar2.errors import InfrastructureError
from rstar2.reproduction.trials import DONE, Trial, ready

LOG = "log.txt"
RSTAR2 = (sys.executable, "-c", "from rstar2.cli import main; main()")
_BOUND = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG: end when the campaign does
if os.getppid() != int(sys.argv[1]):
    sys.exit(1)
os.execvp(sys.argv[2], sys.argv[2:])
"""
"""Becomes the program behind the campaign's pid; that is told to end if the campaign is killed."""
_POLL_S = 0.2
_STOP_LIMIT_S = 20.0


def run_missing(
    trials: Sequence[Trial],
    *,
    config: Path,
    root: Path,
    num_at_once: int,
    program: Sequence[str] = RSTAR2,
    on_done: Callable[[Trial], None] = lambda _: None,
) -> None:
    """Run all trials that are not done; InfrastructureError names the log of one that failed."""
    done = [trial for trial in trials if trial.is_done(root)]
    for trial in done:
        on_done(trial)
    running: dict[Trial, subprocess.Popen[bytes]] = {}
    try:
        while len(done) < len(trials):
            for trial in ready(trials, done=done, begun=running)[: num_at_once - len(running)]:
                running[trial] = _start(trial, config, root, program)
            time.sleep(_POLL_S)
            for trial in [trial for trial, process in running.items() if process.poll() is not None]:
                _conclude(trial, running.pop(trial), root)
                done.append(trial)
                on_done(trial)
    finally:
        _stop(running.values())


def _start(trial: Trial, config: Path, root: Path, program: Sequence[str]) -> subprocess.Popen[bytes]:
    """In a process group of its own: Ctrl-C in a terminal goes to a whole group, and `_stop` passes it on.

    Told to end a second time, a trial would break off its own cleaning up.
    """
    folder = trial.folder(root)
    folder.mkdir(parents=True, exist_ok=True)
    bound = (sys.executable, "-IS", "-c", _BOUND, str(os.getpid()))
    with (folder / LOG).open("ab") as log:
        return subprocess.Popen(
            [*bound, *program, *trial.arguments(config, root)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            process_group=0,
        )


def _conclude(trial: Trial, process: subprocess.Popen[bytes], root: Path) -> None:
    folder = trial.folder(root)
    if process.returncode:
        last = (folder / LOG).read_text(errors="replace").strip().rpartition("\n")[2]
        raise InfrastructureError(
            f"{folder} failed ({last}): see {folder / LOG}, mend it, and give the same command again"
        )
    (folder / DONE).touch()


def _stop(processes: Iterable[subprocess.Popen[bytes]]) -> None:
    """In good order, so that they close their sandboxes.

    By SIGTERM: they ignore SIGINT if we do, as what a script starts in the background does.
    """
    left = list(processes)
    for process in left:
        process.terminate()
    for process in left:
        try:
            process.wait(_STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
