"""One RL step, GRPO-RoC, in two halves: play 2G graded rollouts per problem; keep G of them and learn.

groups  <- 2G rollouts of each problem, graded
kept    <- Resample-on-Correct of each group to G        (section 2.2.3, arXiv:2508.20722)
samples <- group-relative advantages; none from groups with equal rewards
learner <- one step, or as many as the stage says

Which halves run when, and with which weights, is decided in overlap.py.
"""

import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from rstar2.config import RocSection, StageSection
from rstar2.evaluation.evaluate import tool_error_rate
from rstar2.grpo import advantage, roc
from rstar2.ports import Objective
from rstar2.rollout.agent import RolloutLimits
from rstar2.telemetry import Window
from rstar2.training.parts import Parts
from rstar2.training.stages import StepOutcome, warmed_up
from rstar2.types import Ending, GradedRollout, Group, Problem, TrainSample


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """What the engines gave."""

    groups: Sequence[Group]
    """Before RoC."""
    metrics: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """What the learner made of it."""

    kept: Sequence[Group]
    """One per group, as RoC left it."""
    metrics: Mapping[str, float]


def stage_limits(stage: StageSection, *, tool_response_chars: int) -> RolloutLimits:
    return RolloutLimits(
        max_response_tokens=stage.max_response_tokens,
        max_turns=stage.max_turns,
        temperature=stage.temperature,
        top_p=stage.top_p,
        tool_response_chars=tool_response_chars,
    )


async def play(parts: Parts, stage: StageSection, problems: Sequence[Problem], *, step: int) -> Played:
    """Collect a batch with the weights that the engines have."""
    began = time.perf_counter()
    parts.engine_stats()  # forgets what was done before, for mastery or an evaluation
    parts.watcher.begin(f"{stage.name} step {step + 1}", len(problems) * stage.oversample)
    groups = await parts.collector.collect(
        problems,
        num_rollouts=stage.oversample,
        limits=stage_limits(stage, tool_response_chars=parts.config.protocol.tool_response_chars),
        label=f"{stage.name}/{step}",
        on_done=lambda _: parts.watcher.advance(),
    )
    metrics = {
        **group_metrics(groups, prefix=""),
        **{f"engine_{name}": value for name, value in parts.engine_stats().items()},
        "generate_s": time.perf_counter() - began,
    }
    return Played(groups=groups, metrics=metrics)


def learn(parts: Parts, stage: StageSection, groups: Sequence[Group], *, step: int) -> Learned:
    """Resample, and take the stage's optimizer steps, as many as `updates` says."""
    began = time.perf_counter()
    rng = random.Random(f"{parts.config.run.seed}/roc/{stage.name}/{step}")
    kept = [resampled(group, stage, parts.config.roc, rng) for group in groups]
    lr = warmed_up(stage.lr, step=step, warmup_steps=stage.warmup_steps)
    shares = dealt([advantage.samples(group) for group in kept], stage.updates)
    report = parts.learner.step(*shares, objective=Objective.POLICY, lr=lr, temperature=stage.temperature)
    metrics = {
        **group_metrics([g for g in kept if not g.is_degenerate], prefix="kept_"),
        **{f"learner_{name}": value for name, value in report.metrics},
        "learn_s": time.perf_counter() - began,
    }
    return Learned(kept=kept, metrics=metrics)


def dealt(samples_by_group: Sequence[Sequence[TrainSample]], count: int) -> list[list[TrainSample]]:
    """The samples of each of `count` optimizer steps: groups are dealt out in turn, and none is cut.

    Groups without samples are passed over. There are fewer steps if there are fewer groups, but always one.
    """
    teaching = [samples for samples in samples_by_group if samples]
    shares = [[s for samples in teaching[n::count] for s in samples] for n in range(count)]
    return [shares[0], *filter(None, shares[1:])]


def outcome(metrics: Mapping[str, float]) -> StepOutcome:
    """What the exit rules look at, from the metrics of a step."""
    return StepOutcome(reward=metrics["reward"], all_correct_share=metrics["all_correct_share"])


def idle_seconds(window: Window) -> dict[str, float]:
    """How long the learner had nothing to learn from, and the engines nothing to write, in a step."""
    spent = window.shares_s
    both = spent.get("both", 0.0)
    return {
        "step_s": window.wall_s,
        "learner_idle_s": window.wall_s - both - spent.get("learner", 0.0),
        "engines_idle_s": window.wall_s - both - spent.get("generation", 0.0),
    }


def resampled(group: Group, stage: StageSection, section: RocSection, rng: random.Random) -> Group:
    """The group that is learned from: G of 2G by the configured rule, or all of it with mode `off`."""
    if section.mode == "off":
        return group
    return roc.resample(
        group,
        size=stage.group_size,
        mode=section.mode,
        rng=rng,
        epsilon=section.epsilon,
        min_each=section.min_each,
        use_error_penalty=section.use_error_penalty,
        use_format_penalty=section.use_format_penalty,
    )


def group_metrics(groups: Sequence[Group], *, prefix: str) -> dict[str, float]:
    """Means over rollouts and shares over groups; counts alone where no rollout is: 0 would be a collapse."""
    rollouts = [r for group in groups for r in group.rollouts]
    right = [r for r in rollouts if r.reward == 1.0]
    metrics = {
        "groups": float(len(groups)),
        "rollouts": float(len(rollouts)),
        "dropped": float(sum(group.num_dropped for group in groups)),
    }
    if rollouts:
        metrics |= {
            "reward": fmean(r.reward for r in rollouts),
            "tool_error_rate": tool_error_rate(rollouts),
            "tool_error_rate_correct": tool_error_rate(right),
            "calls_per_rollout": _num_calls(rollouts) / len(rollouts),
            "calls_per_correct_rollout": _num_calls(right) / len(right) if right else 0.0,
            "tokens_per_rollout": fmean(r.rollout.num_response_tokens for r in rollouts),
            "clip_ratio": fmean(r.rollout.ending is Ending.TOKEN_LIMIT for r in rollouts),
            "all_correct_share": fmean(min(g.rewards, default=0.0) == 1.0 for g in groups),
            "all_wrong_share": fmean(max(g.rewards, default=1.0) == 0.0 for g in groups),
        }
    return {f"{prefix}{name}": value for name, value in metrics.items()}


def _num_calls(rollouts: Sequence[GradedRollout]) -> int:
    return sum(len(r.rollout.call_statuses) for r in rollouts)


LEGEND = "errors: in all rollouts / in right ones; idle: learner / engines"
"""Of `step_line`."""


def step_line(stage: str, step: int, steps: int, metrics: Mapping[str, float]) -> str:
    """One line that a person wants to read, in 80 columns."""
    m = metrics
    idle = (m["learner_idle_s"] / m["step_s"], m["engines_idle_s"] / m["step_s"])
    return (
        f"{stage} {step}/{steps}  reward {m['reward']:.2f}  "
        f"errors {_percents(m['tool_error_rate'], m['tool_error_rate_correct'])}  "
        f"{m['tokens_per_rollout']:.0f} tokens  cut {m['clip_ratio']:.0%}  "
        f"{m['step_s']:.{1 if m['step_s'] < 100 else 0}f} s  idle {_percents(*idle)}"
    )


def _percents(*shares: float) -> str:
    return "/".join(f"{100 * share:.0f}" for share in shares) + "%"
