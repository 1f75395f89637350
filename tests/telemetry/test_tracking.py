"""The real packages, as a run uses them."""

import json
import subprocess
import sys

import pytest

from rstar2.config.tracking import TrackingSection
from rstar2.errors import ConfigError
from rstar2.telemetry import tracking
from rstar2.telemetry.tracking import new_trackers

WRITES_TWO_LIVES = """
import sys
from pathlib import Path
from rstar2.config.tracking import TrackingSection
from rstar2.telemetry.tracking import new_trackers
folder, section = Path(sys.argv[1]), TrackingSection(sinks=(sys.argv[2],), wandb_mode="offline")
for num_steps in (0, 2):  # the second life takes step 3 again
    with new_trackers(section, folder) as trackers:
        trackers.begin(num_steps)
        for step in range(num_steps + 1, num_steps + 4):
            trackers.record("rl1", step, {"reward": step + 10 * num_steps})
"""


def test_a_package_that_is_missing_is_said_with_the_command_that_brings_it(monkeypatch, tmp_path):
    monkeypatch.setattr(tracking, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'rstar2\[wandb\]'"):
        new_trackers(TrackingSection(sinks=("wandb",)), tmp_path)
    with new_trackers(TrackingSection(), tmp_path):
        assert list(tmp_path.iterdir()) == []


def test_online_tracking_needs_to_know_who_you_are(monkeypatch, tmp_path):
    from rstar2.telemetry import wandb_sink

    monkeypatch.setattr(wandb_sink, "has_credentials", lambda: False)
    with pytest.raises(ConfigError, match="wandb login"):
        new_trackers(TrackingSection(sinks=("wandb",)), tmp_path)


@pytest.mark.integration
def test_tensorboard_shows_steps_that_were_taken_again_once(tmp_path):
    run_child(tmp_path, "tensorboard")
    read = """
import json, sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
events = EventAccumulator(sys.argv[1]).Reload().Scalars("rl/reward")
print(json.dumps([[event.step, event.value] for event in events]))
"""
    done = subprocess.run(
        [sys.executable, "-c", read, tmp_path / "tensorboard"], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == [[1, 1], [2, 2], [3, 23], [4, 24], [5, 25]]


@pytest.mark.integration
def test_wandb_offline_keeps_two_lives_as_one_run(tmp_path):
    (tmp_path / "config.toml").write_text("[run]\nseed = 3\n")
    run_child(tmp_path, "wandb")
    lives = list((tmp_path / "wandb").glob("offline-run-*"))
    run_id = (tmp_path / "wandb/run-id").read_text()
    assert len(lives) == 2
    for folder in lives:
        written = (folder / f"run-{run_id}.wandb").read_bytes()
        assert b"rl/reward" in written
        assert b"optimizer_step" in written


def run_child(folder, sink):
    subprocess.run([sys.executable, "-c", WRITES_TWO_LIVES, folder, sink], check=True, timeout=100)
