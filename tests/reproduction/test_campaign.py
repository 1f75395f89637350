"""Trials are processes: each runs once, in time, and what fails or is stopped leaves the others whole."""

import sys
from pathlib import Path

import pytest

from rstar2.errors import InfrastructureError
from rstar2.reproduction.arms import FOUNDATION, Arm
from rstar2.reproduction.campaign import run_missing
from rstar2.reproduction.trials import Trial, trials_of

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


def test_trials_that_run_beside_a_failure_are_stopped(tmp_path: Path) -> None:
    program = [
        sys.executable,
        "-c",
        "import sys, time\nif 'seed-1' in sys.argv[4]: sys.exit(3)\ntime.sleep(60)",
    ]
    with pytest.raises(InfrastructureError, match="seed-1/foundation failed"):
        run_missing(TRIALS, config=tmp_path, root=tmp_path, num_at_once=2, program=program)
    assert "KeyboardInterrupt" in (tmp_path / "seed-0" / "foundation" / "log.txt").read_text()
