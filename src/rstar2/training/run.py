"""A run from start to end, or from where it was stopped: base, SFT, the RL stages, an evaluation of each.

    phase:   prepare -> step, step, ... -> save -> export -> evaluate -> summary row -> save
    disk:    checkpoints/ (progress.py), files for readers (records.py), models/

The steps themselves: supervised.py for base and SFT, reinforce.py for the stages.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rstar2 import checkpoint
from rstar2.config import StageSection
from rstar2.errors import InputError
from rstar2.evaluation.evaluate import evaluation_limits, pass_at_1_by_task, summarise
from rstar2.ports import Objective, OptimizerKind
from rstar2.training.base import keep_base, vocabulary_hash
from rstar2.training.parts import Parts
from rstar2.training.progress import Progress
from rstar2.training.reinforce import Reinforcement
from rstar2.training.rl import stage_limits
from rstar2.training.sampler import SamplerState
from rstar2.training.stages import probe_size, supervised_lr, unmastered
from rstar2.training.state import RunState
from rstar2.training.supervised import SamplesOfStep, pretraining_samples, sft_samples
from rstar2.types import Problem

REPORT_EVERY = 25
"""Supervised steps per line to read."""

MIN_PROBE_ROLLOUTS = 2048
"""In a batch of problems tried for mastery: at its end the engines wait for the longest rollout of it."""


@dataclass(slots=True)
class TrainingRun:
    """Drives one run; all that it changes is in the progress, on disk, and in the learner."""

    parts: Parts
    min_probe_rollouts: int = MIN_PROBE_ROLLOUTS
    _progress: Progress = field(init=False)

    def __post_init__(self) -> None:
        self._progress = Progress(self.parts)

    @property
    def state(self) -> RunState:
        return self._progress.state

    async def go(self) -> dict[str, Any]:
        """Run what is left; the summary, which is also written to summary.json."""
        self._progress.restore()
        self._refuse_another_vocabulary()
        phases = ["base", "sft", *(stage.name for stage in self.parts.config.stages)]
        while self.state.phase < len(phases):
            self._progress.begin_phase()
            await self._run_phase(phases[self.state.phase])
            await self._progress.end_phase()
        return self._progress.write_summary()

    def _refuse_another_vocabulary(self) -> None:
        """Weights load under every tokenizer of their size, to which their ids may mean other tokens.

        The tiny base's is made anew whenever a version of rstar2 writes its text differently.
        """
        now = vocabulary_hash(self.parts.template.tokenizer)
        if self.state.vocabulary not in ("", now):
            raise InputError(
                f"'{self.parts.folder}' was trained with another tokenizer: go on with the version of rstar2 "
                "and the model.base that it began with, or give another --run folder"
            )
        self.state.vocabulary = now

    async def _run_phase(self, name: str) -> None:
        await self.parts.rest()
        await self._learn(name)
        self.parts.export(self.parts.folder / "models" / name)
        await self._evaluate(name)

    async def _learn(self, name: str) -> None:
        """Take the phase's steps, and save what came of them: an evaluation may take hours, and be killed."""
        if name == "base":
            await self._pretrain()
            return  # it saves what it trained, and there is nothing to save of a base that was given
        if name == "sft":
            samples_of, steps = sft_samples(self.parts)
            await self._supervise("sft", samples_of, steps=steps)
        else:
            await self._reinforce(self.parts.config.stages[self.state.phase - 2])
        await self._progress.save()

    async def _pretrain(self) -> None:
        """Pre-train the tiny base, or take it from the cache; a given base needs nothing."""
        cache = self.parts.base_cache
        if cache is None:
            return
        cached = checkpoint.latest(cache)
        # A run that has begun to pre-train goes on by itself: its metrics tell of every step.
        if cached is not None and self.state.step == 0:
            self.parts.learner.restore(cached.path)
            self.parts.watcher.line(f"base: taken from {cache}")
            return
        steps = self.parts.config.pretraining.steps
        await self._supervise("base", pretraining_samples(self.parts), steps=steps)
        await self._progress.save()
        if not self._progress.had_another_config:  # the cache is named after the one that made the base
            keep_base(cache, steps=steps, save=self.parts.learner.save)

    async def _supervise(self, name: str, samples_of: SamplesOfStep, *, steps: int) -> None:
        config, state = self.parts.config, self.state
        section = config.pretraining if name == "base" else config.sft
        if state.step == 0:
            is_base = name == "base"
            self.parts.learner.reset_optimizer(
                config.pretraining.optimizer if is_base else OptimizerKind.ADAMW
            )
        self.parts.watcher.begin(name, steps - state.step)
        while state.step < steps:
            began = time.perf_counter()
            lr = supervised_lr(section, step=state.step, steps=steps)
            report = self.parts.learner.step(samples_of(state.step), objective=Objective.LIKELIHOOD, lr=lr)
            state.step += 1
            state.total_steps += 1
            values = dict(report.metrics) | {"step_s": time.perf_counter() - began}
            self._progress.records.keep_metrics(name, state.step, values)
            self.parts.watcher.advance()
            if state.step % REPORT_EVERY == 0 or state.step == steps:
                self.parts.watcher.line(
                    f"{name} {state.step}/{steps}  loss {report['loss']:.3f}  {values['step_s']:.2f} s"
                )
            await self._progress.save_if_due()

    async def _reinforce(self, stage: StageSection) -> None:
        if self.state.step == 0:
            await self._enter_stage(stage)
        if problems := self._stage_problems():
            await Reinforcement(self.parts, self._progress, stage, problems).run()
        else:
            self.parts.watcher.line(f"{stage.name}: every problem is mastered, nothing is left to learn from")

    async def _enter_stage(self, stage: StageSection) -> None:
        """Reset the optimizer if the stage says so, and choose its problems."""
        state = self.state
        # The first stage never starts on SFT's moments.
        if state.num_probed == 0 and (state.phase == 2 or stage.reset_optimizer):
            self.parts.learner.reset_optimizer()
        if stage.problems == "unmastered":
            await self._probe(stage)

    async def _probe(self, stage: StageSection) -> None:
        """Choose the problems that are not mastered, or go on choosing.

        The paper's, tried 8 times each, are as many rollouts as 20 steps play: too many to hold, or to lose.
        So they are tried in batches, of which only ids stay, and a resume begins with the next one.
        """
        state, parts = self.state, self.parts
        probed = list(parts.train)[: stage.mastery_problems]
        size = probe_size(stage, min_rollouts=self.min_probe_rollouts)
        num_left = len(probed) - state.num_probed
        parts.watcher.begin(f"{stage.name}: which problems are mastered", num_left * stage.mastery_rollouts)
        while batch := probed[state.num_probed :][:size]:
            ids = await self._unmastered_of(batch, stage)
            state.stage_problems = [*(state.stage_problems or ()), *ids]
            state.num_probed += len(batch)
            state.num_probes += 1
            await parts.rest()
            await self._progress.save_if_due()
        state.sampler = SamplerState()
        num_chosen = len(state.stage_problems or ())
        parts.watcher.line(f"{stage.name}: {num_chosen} of {len(probed)} problems are not solved every time")

    async def _unmastered_of(self, problems: Sequence[Problem], stage: StageSection) -> tuple[str, ...]:
        parts = self.parts
        # Before every batch, so that a resumed one finds the engines as they would have been.
        await self._hand_over()
        groups = await parts.collector.collect(
            problems,
            num_rollouts=stage.mastery_rollouts,
            limits=stage_limits(stage, tool_response_chars=parts.config.protocol.tool_response_chars),
            label=f"{stage.name}/mastery",
            on_done=lambda _: parts.watcher.advance(),
        )
        return unmastered(groups)

    def _stage_problems(self) -> list[Problem]:
        if self.state.stage_problems is None:
            return list(self.parts.train)
        chosen = set(self.state.stage_problems)
        return [problem for problem in self.parts.train if problem.id in chosen]

    async def _evaluate(self, name: str) -> None:
        parts, section = self.parts, self.parts.config.evaluation
        await self._hand_over()
        parts.watcher.begin(f"{name}: evaluation", len(parts.test) * section.rollouts)
        groups = await parts.collector.collect(
            parts.test,
            num_rollouts=section.rollouts,
            limits=evaluation_limits(parts.config),
            label=f"evaluation/{name}",
            on_done=lambda _: parts.watcher.advance(),
        )
        summary = summarise(groups, seed=parts.config.run.seed)
        row: dict[str, Any] = {
            "name": name,
            "steps": self.state.step,
            **summary.as_dict(),
            "pass_at_1_by_task": pass_at_1_by_task(groups),
            "wall_s": self._progress.phase_wall_s,
        }
        self.state.rows.append(row)
        self._progress.records.track_evaluation(row)
        self._progress.records.keep_rollouts(f"evaluation/{name}", self.state.step, groups, groups)
        parts.watcher.line(
            f"{name}: pass@1 {summary.pass_at_1:.1%} "
            f"[{summary.pass_at_1_ci95[0]:.1%}, {summary.pass_at_1_ci95[1]:.1%}]"
        )

    async def _hand_over(self) -> None:
        """Give the engines the learner's present weights."""
        version = self.state.total_steps
        self.parts.learner.publish(self.parts.channel, version)
        await self.parts.dispatcher.adopt(self.parts.channel, version)
