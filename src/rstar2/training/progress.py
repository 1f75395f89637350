"""Where a run is: what it decided so far, saved together with the learner's weights.

A checkpoint is written at every phase boundary, before every evaluation of what a phase learned, and within a
phase after the first step, or batch of probed problems, that ends `run.checkpoint_every_s` seconds or more
after the last checkpoint.
"""

import time
from typing import Any

from rstar2 import checkpoint
from rstar2.errors import CheckpointError
from rstar2.training.parts import Parts
from rstar2.training.records import Records
from rstar2.training.state import RunState
from rstar2.training.threads import in_thread

CHANGES_FILE = "changes.jsonl"
"""In the run's folder: keys of the config that changed while the run was stopped, a line for each time."""


class Progress:
    """The state of one run, and how it gets to disk and back; whoever advances the run changes `state`."""

    def __init__(self, parts: Parts) -> None:
        self.state = RunState()
        self.records = Records(
            parts.folder,
            parts.template.tokenizer,
            max_rollouts=parts.config.run.save_rollouts,
            trackers=parts.trackers,
        )
        self._parts = parts
        self._clock_s = self._saved_at_s = time.monotonic()
        self._saved_number = -1
        """Of the newest checkpoint; -1 for none."""

    @property
    def _number(self) -> int:
        """Of a checkpoint of this state: higher after a step, a boundary, or a batch of probed problems."""
        return self.state.total_steps + self.state.phase + self.state.num_probes

    @property
    def phase_wall_s(self) -> float:
        """Time spent in the present phase, over all its attempts."""
        return self.state.phase_wall_s + time.monotonic() - self._clock_s

    @property
    def had_another_config(self) -> bool:
        """At any time before this one."""
        return (self._parts.folder / CHANGES_FILE).exists()

    def restore(self) -> None:
        """Go back to the newest checkpoint, if there is one.

        CheckpointError if all that are there are torn: no kill leaves a run so, and a fresh start in its
        folder would remove what may still be mended.
        """
        parts = self._parts
        folder = parts.folder / "checkpoints"
        found = checkpoint.latest(folder)
        if found is None and (torn := checkpoint.names(folder)):
            raise CheckpointError(
                f"none of the {len(torn)} checkpoints in {folder} is complete; mend the disk or bring a copy "
                "back, or delete that folder to start over"
            )
        if found is not None:
            parts.learner.restore(found.path)
            self.state, self._saved_number = RunState.from_json(found.state), found.step
            parts.lengths.restore(self.state.lengths)
            parts.watcher.line(f"resumed after {self.state.total_steps} steps")
        self.records.cut_back(self.state)

    def begin_phase(self) -> None:
        self._clock_s = self._saved_at_s = time.monotonic()

    async def end_phase(self) -> None:
        state = self.state
        state.phase += 1
        state.step = 0
        state.phase_wall_s = 0.0
        state.history = []
        state.stage_problems = None
        state.num_probed = 0
        self._clock_s = time.monotonic()
        await self.save()
        self.write_summary()

    def write_summary(self) -> dict[str, Any]:
        return self.records.write_summary(self.state.rows, seed=self._parts.config.run.seed)

    async def save_if_due(self) -> None:
        if time.monotonic() - self._saved_at_s >= self._parts.config.run.checkpoint_every_s:
            await self.save()

    async def save(self) -> None:
        """Write a checkpoint, unless nothing was learned or decided since the newest one.

        Engines may play on meanwhile, but nobody may learn.
        """
        state, parts, number = self.state, self._parts, self._number
        if number == self._saved_number:
            return
        await in_thread(self.records.flush_to_disk)
        state.phase_wall_s, self._clock_s = self.phase_wall_s, time.monotonic()
        state.lengths = parts.lengths.to_json()
        self.records.note_lengths(state)
        await in_thread(
            checkpoint.write,
            parts.folder / "checkpoints",
            step=number,
            state=state.to_json(),
            save=parts.learner.save,
            keep=parts.config.run.keep_checkpoints,
        )
        self._saved_at_s, self._saved_number = time.monotonic(), number
