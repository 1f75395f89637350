"""An RL stage: problems are drawn, played and learned from until the stage has enough.

    player    draw -> play -> Batch ------.                  as far ahead as `rollout.max_lag` lets it
    learner                  Batch -> learn -> record -> save -> publish

What counts as done is what was learned from: a batch brings along the sampler's state after it, which becomes
the run's only then. A run that is killed plays again what was under way; no problem is lost or seen twice.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from rstar2.config import StageSection
from rstar2.telemetry import Work
from rstar2.training.overlap import Overlap
from rstar2.training.parts import Parts
from rstar2.training.progress import Progress
from rstar2.training.rl import LEGEND, Learned, Played, idle_seconds, learn, outcome, play, step_line
from rstar2.training.sampler import SamplerState, draw_problems
from rstar2.training.stages import reason_to_leave
from rstar2.training.threads import in_thread
from rstar2.types import Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Played and not yet learned from."""

    played: Played
    version: int
    """Of the weights that played it."""
    sampler: SamplerState
    """After its problems were drawn."""


class Reinforcement:
    """One stage of a run, from wherever its state is."""

    def __init__(
        self, parts: Parts, progress: Progress, stage: StageSection, problems: Sequence[Problem]
    ) -> None:
        self._parts, self._progress, self._stage = parts, progress, stage
        self._problems = problems
        self._first_version = progress.state.total_steps - progress.state.step
        """Of the stage: batch n is the one for its step n - first version, counted from 0."""
        self._sampler = progress.state.sampler
        """Ahead of the run's own, by the batches that are under way."""
        self._idle_s = {"step_s": 0.0, "learner_idle_s": 0.0, "engines_idle_s": 0.0}

    async def run(self) -> None:
        """Take the steps that are left, unless there is a reason to leave."""
        state, stage = self._progress.state, self._stage
        if state.step == stage.steps or self._has_enough():
            return
        self._parts.watcher.line(f"{stage.name}: {LEGEND}")
        self._parts.collector.activity.window()  # what was done before is not this stage's
        overlap = Overlap(
            max_lag=self._parts.config.rollout.max_lag,
            publish=self._publish,
            adopt=self._adopt,
            play=self._play,
            learn=self._learn,
        )
        await overlap.run(state.total_steps, self._first_version + stage.steps - 1)
        self._tell_idle_shares()

    async def _play(self, number: int, version: int) -> Batch:
        stage = self._stage
        problems, self._sampler = draw_problems(
            self._problems,
            self._sampler,
            count=stage.problems_per_step,
            seed=self._parts.config.run.seed,
        )
        sampler = self._sampler
        played = await play(self._parts, stage, problems, step=number - self._first_version)
        return Batch(played=played, version=version, sampler=sampler)

    async def _learn(self, batch: Batch) -> bool:
        """One step, recorded and perhaps saved; whether there is more to do."""
        activity, step = self._parts.collector.activity, self._progress.state.step
        await self._parts.rest()
        with activity.span(Work.LEARNER):
            learned = await in_thread(learn, self._parts, self._stage, batch.played.groups, step=step)
        self._record(batch, learned)
        with activity.span(Work.LEARNER):
            await self._progress.save_if_due()
        return not self._has_enough()

    def _record(self, batch: Batch, learned: Learned) -> None:
        """The step is done: let the run's state and files say so."""
        state, records, stage = self._progress.state, self._progress.records, self._stage
        window = self._parts.collector.activity.window()
        spent = idle_seconds(window)
        self._idle_s = {name: self._idle_s[name] + value for name, value in spent.items()}
        lag = float(state.total_steps - batch.version)
        metrics = {**batch.played.metrics, **learned.metrics, **spent, "lag_versions": lag}
        state.sampler = batch.sampler
        state.step += 1
        state.total_steps += 1
        state.history.append(outcome(metrics))
        records.keep_metrics(stage.name, state.step, metrics)
        records.keep_window(stage.name, state.step, window)
        records.keep_rollouts(stage.name, state.step, batch.played.groups, learned.kept)
        records.keep_traces(batch.played.groups, max_response_tokens=stage.max_response_tokens)
        self._parts.watcher.line(step_line(stage.name, state.step, stage.steps, metrics))

    def _has_enough(self) -> bool:
        state, stage = self._progress.state, self._stage
        reason = reason_to_leave(stage.exit, state.history) if state.step < stage.steps else None
        if reason:
            self._parts.watcher.line(f"{stage.name}: left after {state.step} steps, because {reason}")
        return reason is not None

    async def _publish(self, version: int) -> None:
        with self._parts.collector.activity.span(Work.LEARNER):
            await in_thread(self._parts.learner.publish, self._parts.channel, version)

    async def _adopt(self, version: int) -> None:
        with self._parts.collector.activity.span(Work.LEARNER):
            await self._parts.dispatcher.adopt(self._parts.channel, version)

    def _tell_idle_shares(self) -> None:
        learner, engines = (self._idle_s[f"{who}_idle_s"] for who in ("learner", "engines"))
        wall_s = self._idle_s["step_s"]
        self._parts.watcher.line(
            f"{self._stage.name}: idle: learner {learner / wall_s:.0%}, engines {engines / wall_s:.0%}"
        )
