"""One RL step, GRPO-RoC: collect 2G graded rollouts per problem, keep G, take one optimizer step.

groups  <- 2G rollouts of each problem, graded
kept    <- Resample-on-Correct of each group to G        (section 2.2.3, arXiv:2508.20722)
samples <- group-relative advantages; none from groups with equal rewards
learner <- one step; engines adopt the new weights
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
from rstar2.telemetry import Window, Work
from rstar2.training.parts import Parts
from rstar2.training.stages import StepOutcome, warmed_up
from rstar2.types import Ending, Group, Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class RlStep:
    """What one step did."""

    groups: Sequence[Group]
    """As collected, before RoC."""
    kept: Sequence[Group]
    metrics: Mapping[str, float]
    window: Window
    """What was under way during it."""

    @property
    def outcome(self) -> StepOutcome:
        return StepOutcome(reward=self.metrics["reward"], all_correct_share=self.metrics["all_correct_share"])


def stage_limits(stage: StageSection, *, tool_response_chars: int) -> RolloutLimits:
    return RolloutLimits(
        max_response_tokens=stage.max_response_tokens,
        max_turns=stage.max_turns,
        temperature=stage.temperature,
        top_p=stage.top_p,
        tool_response_chars=tool_response_chars,
    )


async def rl_step(
    parts: Parts, stage: StageSection, problems: Sequence[Problem], *, step: int, version: int
) -> RlStep:
    """Collect, resample, learn, publish `version` and let the engines adopt it."""
    began = time.perf_counter()
    parts.collector.activity.window()
    parts.engine_stats()  # both forget what was done before, for mastery or an evaluation
    parts.watcher.begin(f"{stage.name} step {step + 1}", len(problems) * stage.oversample)
    groups = await parts.collector.collect(
        problems,
        num_rollouts=stage.oversample,
        limits=stage_limits(stage, tool_response_chars=parts.config.protocol.tool_response_chars),
        label=f"{stage.name}/{step}",
        on_done=lambda _: parts.watcher.advance(),
    )
    collected = time.perf_counter()
    rng = random.Random(f"{parts.config.run.seed}/roc/{stage.name}/{step}")
    kept = [resampled(group, stage, parts.config.roc, rng) for group in groups]
    samples = [sample for group in kept for sample in advantage.samples(group)]
    lr = warmed_up(stage.lr, step=step, warmup_steps=stage.warmup_steps)
    with parts.collector.activity.span(Work.LEARNER):
        report = parts.learner.step(samples, objective=Objective.POLICY, lr=lr, temperature=stage.temperature)
        parts.learner.publish(parts.channel, version)
        await parts.dispatcher.adopt(parts.channel, version)
    metrics = {
        **group_metrics(groups, prefix=""),
        **group_metrics([g for g in kept if not g.is_degenerate], prefix="kept_"),
        **{f"learner_{name}": value for name, value in report.metrics},
        **{f"engine_{name}": value for name, value in parts.engine_stats().items()},
        "generate_s": collected - began,
        "learn_s": time.perf_counter() - collected,
    }
    return RlStep(groups=groups, kept=kept, metrics=metrics, window=parts.collector.activity.window())


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
    """Means over rollouts and shares over groups; only counts where there is nothing to average."""
    rollouts = [r for group in groups for r in group.rollouts]
    metrics = {
        "groups": float(len(groups)),
        "rollouts": float(len(rollouts)),
        "dropped": float(sum(group.num_dropped for group in groups)),
    }
    if rollouts:
        metrics |= {
            "reward": fmean(r.reward for r in rollouts),
            "tool_error_rate": tool_error_rate(rollouts),
            "tool_error_rate_correct": tool_error_rate([r for r in rollouts if r.reward == 1.0]),
            "calls_per_rollout": fmean(len(r.rollout.call_statuses) for r in rollouts),
            "tokens_per_rollout": fmean(r.rollout.num_response_tokens for r in rollouts),
            "clip_ratio": fmean(r.rollout.ending is Ending.TOKEN_LIMIT for r in rollouts),
            "all_correct_share": fmean(min(g.rewards, default=0.0) == 1.0 for g in groups),
            "all_wrong_share": fmean(max(g.rewards, default=1.0) == 0.0 for g in groups),
        }
    else:
        metrics |= {"reward": 0.0, "all_correct_share": 0.0}
    return {f"{prefix}{name}": value for name, value in metrics.items()}


def step_line(stage: str, step: int, steps: int, metrics: Mapping[str, float]) -> str:
    """One line that a person wants to read; the seconds are generation + learning. Fits 80 columns."""
    m = metrics
    return (
        f"{stage} {step}/{steps}  reward {m['reward']:.2f}  "
        f"errors {m['tool_error_rate']:.0%} ({m['tool_error_rate_correct']:.0%} in right)  "
        f"{m['tokens_per_rollout']:.0f} tokens  cut {m['clip_ratio']:.0%}  "
        f"{m['generate_s']:.1f}+{m['learn_s']:.1f} s"
    )
