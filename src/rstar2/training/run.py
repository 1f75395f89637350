"""A run from start to end, or from where it was stopped: base, SFT, the RL stages, an evaluation of each.

    phase:   prepare -> step, step, ... -> export -> evaluate -> summary row
    disk:    checkpoints/ (weights, optimizer, state), metrics.jsonl, rollouts.jsonl, timeline.jsonl,
             traces.jsonl, models/, summary.json

A checkpoint is written at least every `run.checkpoint_every_s` seconds and at every phase boundary. On
resume the files are cut back to what the checkpoint knows, so that nothing is counted twice.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rstar2 import checkpoint
from rstar2.config import StageSection
from rstar2.evaluation.evaluate import evaluation_limits, pass_at_1_by_task, summarise
from rstar2.grpo import roc
from rstar2.ports import Objective, OptimizerKind
from rstar2.rollout.simulation import traces
from rstar2.rollout.transcript import readable
from rstar2.telemetry import JsonLines
from rstar2.training.parts import Parts
from rstar2.training.rl import rl_step, stage_limits, step_line
from rstar2.training.sampler import SamplerState, draw_problems
from rstar2.training.stages import reason_to_leave, supervised_lr, unmastered
from rstar2.training.state import RunState
from rstar2.training.supervised import SamplesOfStep, pretraining_samples, sft_samples
from rstar2.types import Group, Problem

REPORT_EVERY = 25
"""Supervised steps per line to read."""


@dataclass(slots=True)
class TrainingRun:
    """Drives one run; all that it changes is in `state`, on disk, and in the learner."""

    parts: Parts
    state: RunState = field(default_factory=RunState)
    _metrics: JsonLines = field(init=False)
    _rollouts: JsonLines = field(init=False)
    _timeline: JsonLines = field(init=False)
    _saved_at: float = field(init=False, default=0.0)
    _clock: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        self._metrics = JsonLines(self.parts.folder / "metrics.jsonl")
        self._rollouts = JsonLines(self.parts.folder / "rollouts.jsonl")
        self._timeline = JsonLines(self.parts.folder / "timeline.jsonl")

    async def go(self) -> dict[str, Any]:
        """Run what is left; the summary, which is also written to summary.json."""
        self._restore()
        phases = ["base", "sft", *(stage.name for stage in self.parts.config.stages)]
        while self.state.phase < len(phases):
            self._clock = self._saved_at = time.monotonic()
            await self._run_phase(phases[self.state.phase])
            self._leave_phase()
        return self._write_summary()

    async def _run_phase(self, name: str) -> None:
        parts = self.parts
        if name == "base":
            await self._pretrain()
        elif name == "sft":
            samples_of, steps = sft_samples(parts)
            await self._supervise("sft", samples_of, steps=steps)
        else:
            stage = parts.config.stages[self.state.phase - 2]
            await self._reinforce(stage)
        parts.export(parts.folder / "models" / name)
        await self._evaluate(name)

    # -- phases ------------------------------------------------------------------------------------

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
        self._save()
        checkpoint.write(cache, step=steps, state={}, save=self.parts.learner.save, keep=1)

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
            self._metrics.append({"phase": name, "step": state.step, **values})
            self.parts.watcher.advance()
            if state.step % REPORT_EVERY == 0 or state.step == steps:
                self.parts.watcher.line(
                    f"{name} {state.step}/{steps}  loss {report['loss']:.3f}  {values['step_s']:.2f} s"
                )
            self._save_if_due()

    async def _reinforce(self, stage: StageSection) -> None:
        state, parts = self.state, self.parts
        if state.step == 0:
            await self._enter_stage(stage)
        problems = self._stage_problems()
        if not problems:
            parts.watcher.line(f"{stage.name}: every problem is mastered, nothing is left to learn from")
            return
        await self._publish()
        while state.step < stage.steps:
            if reason := reason_to_leave(stage.exit, state.history):
                parts.watcher.line(f"{stage.name}: left after {state.step} steps, because {reason}")
                break
            drawn, state.sampler = draw_problems(
                problems, state.sampler, count=stage.problems_per_step, seed=parts.config.run.seed
            )
            done = await rl_step(parts, stage, drawn, step=state.step, version=state.total_steps + 1)
            state.step += 1
            state.total_steps += 1
            state.history.append(done.outcome)
            self._metrics.append({"phase": stage.name, "step": state.step, **done.metrics})
            self._timeline.append({"phase": stage.name, "step": state.step, **asdict(done.window)})
            self._keep_rollouts(stage.name, state.step, done.groups, done.kept)
            self._keep_traces(stage, done.groups)
            parts.watcher.line(step_line(stage.name, state.step, stage.steps, done.metrics))
            self._save_if_due()

    async def _enter_stage(self, stage: StageSection) -> None:
        """Choose the stage's problems, and reset the optimizer if it says so."""
        state, parts = self.state, self.parts
        if state.phase == 2 or stage.reset_optimizer:  # the first stage never starts on SFT's moments
            parts.learner.reset_optimizer()
        if stage.problems == "all":
            return
        await self._publish()
        probed = list(parts.train)[: stage.mastery_problems]
        parts.watcher.begin(
            f"{stage.name}: which problems are mastered", len(probed) * stage.mastery_rollouts
        )
        groups = await parts.collector.collect(
            probed,
            num_rollouts=stage.mastery_rollouts,
            limits=stage_limits(stage, tool_response_chars=parts.config.protocol.tool_response_chars),
            label=f"{stage.name}/mastery",
            on_done=lambda _: parts.watcher.advance(),
        )
        state.stage_problems = list(unmastered(groups))
        state.sampler = SamplerState()
        parts.watcher.line(
            f"{stage.name}: {len(state.stage_problems)} of {len(probed)} problems are not solved every time"
        )

    async def _evaluate(self, name: str) -> None:
        parts, section = self.parts, self.parts.config.evaluation
        await self._publish()
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
            "wall_s": self._phase_wall_s(),
        }
        self.state.rows.append(row)
        self._keep_rollouts(f"evaluation/{name}", self.state.step, groups, groups)
        parts.watcher.line(
            f"{name}: pass@1 {summary.pass_at_1:.1%} "
            f"[{summary.pass_at_1_ci95[0]:.1%}, {summary.pass_at_1_ci95[1]:.1%}]"
        )

    # -- bookkeeping -------------------------------------------------------------------------------

    def _stage_problems(self) -> list[Problem]:
        chosen = self.state.stage_problems
        train = self.parts.train
        return list(train) if chosen is None else [p for p in train if p.id in set(chosen)]

    async def _publish(self) -> None:
        """Give the engines the learner's present weights."""
        version = self.state.total_steps
        self.parts.learner.publish(self.parts.channel, version)
        await self.parts.dispatcher.adopt(self.parts.channel, version)

    def _leave_phase(self) -> None:
        state = self.state
        state.phase += 1
        state.step = 0
        state.phase_wall_s = 0.0
        state.history = []
        state.stage_problems = None
        self._clock = time.monotonic()
        self._save()
        self._write_summary()

    def _phase_wall_s(self) -> float:
        return self.state.phase_wall_s + time.monotonic() - self._clock

    def _save_if_due(self) -> None:
        if time.monotonic() - self._saved_at >= self.parts.config.run.checkpoint_every_s:
            self._save()

    def _save(self) -> None:
        self.state.phase_wall_s, self._clock = self._phase_wall_s(), time.monotonic()
        self.state.lengths = self.parts.lengths.to_json()
        self.state.metrics_bytes = self._metrics.num_bytes
        self.state.rollouts_bytes = self._rollouts.num_bytes
        self.state.timeline_bytes = self._timeline.num_bytes
        checkpoint.write(
            self.parts.folder / "checkpoints",
            # The phase is part of the number: a boundary is saved without a step in between.
            step=self.state.total_steps + self.state.phase,
            state=self.state.to_json(),
            save=self.parts.learner.save,
            keep=self.parts.config.run.keep_checkpoints,
        )
        self._saved_at = time.monotonic()

    def _restore(self) -> None:
        found = checkpoint.latest(self.parts.folder / "checkpoints")
        if found is not None:
            self.parts.learner.restore(found.path)
            self.state = RunState.from_json(found.state)
            self.parts.lengths.restore(self.state.lengths)
            self.parts.watcher.line(f"resumed after {self.state.total_steps} steps")
        self._metrics.cut_back(self.state.metrics_bytes)
        self._rollouts.cut_back(self.state.rollouts_bytes)
        self._timeline.cut_back(self.state.timeline_bytes)

    def _keep_rollouts(self, phase: str, step: int, groups: Sequence[Group], kept: Sequence[Group]) -> None:
        """The first few groups of a step, whole, so that a reader sees what RoC chose from."""
        budget = self.parts.config.run.save_rollouts
        for group, chosen in zip(groups, kept, strict=True):
            if budget < len(group.rollouts):
                return
            budget -= len(group.rollouts)
            indices = {g.rollout.index for g in chosen.rollouts}
            for graded in group.rollouts:
                record = readable(self.parts.template.tokenizer, group.problem, graded)
                fate = {
                    "kept": graded.rollout.index in indices,
                    "error_penalty": roc.error_penalty(graded.rollout),
                    "format_penalty": roc.format_penalty(graded.rollout),
                }
                self._rollouts.append({"phase": phase, "step": step, **fate, **record})

    def _keep_traces(self, stage: StageSection, groups: Sequence[Group]) -> None:
        """The last step's rollouts as a scheduler met them: what `rstar2 simulate --trace` plays again."""
        path = self.parts.folder / traces.FILE_NAME
        aside = path.with_name(f".{path.name}.partial")
        aside.unlink(missing_ok=True)
        rollouts = (graded.rollout for group in groups for graded in group.rollouts)
        limit = stage.max_response_tokens
        traces.write_traces(aside, (traces.trace_of(r, max_response_tokens=limit) for r in rollouts))
        aside.replace(path)

    def _write_summary(self) -> dict[str, Any]:
        summary = {
            "seed": self.parts.config.run.seed,
            "wall_s": sum(row["wall_s"] for row in self.state.rows),
            "stages": self.state.rows,
        }
        path = self.parts.folder / "summary.json"
        _replace_text(path, json.dumps(summary, indent=1) + "\n")
        return summary


def _replace_text(path: Path, text: str) -> None:
    aside = path.with_name(f".{path.name}.partial")
    aside.write_text(text, encoding="utf-8")
    aside.replace(path)
