"""What a set of groups says of the policy: correctness, tool errors, lengths; the same for RL and tests."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import fmean

from rstar2.config import RunConfig
from rstar2.evaluation.pass_at_k import average_scores, mean_score
from rstar2.rollout.agent import RolloutLimits
from rstar2.types import Ending, GradedRollout, Group


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """One row of the table that a run ends with. Shares are in [0, 1]."""

    pass_at_1: float
    """Mean over problems of the share of right rollouts."""
    pass_at_1_ci95: tuple[float, float]
    """Over problems: see `mean_score`."""
    tool_error_rate: float
    """Failed calls among all calls; 0 without calls."""
    tool_error_rate_correct: float
    """The same in right rollouts only (the paper's Figure 4)."""
    recovery_rate: float | None
    """Right rollouts among those with a failed call; None if no call failed."""
    calls_per_rollout: float
    tokens_per_rollout: float
    """After the prompt, tool responses included."""
    clip_ratio: float
    """Rollouts that ran into the token limit."""
    num_rollouts: int
    num_dropped: int

    def as_dict(self) -> dict[str, object]:
        return asdict(self) | {"pass_at_1_ci95": list(self.pass_at_1_ci95)}


def evaluation_limits(config: RunConfig) -> RolloutLimits:
    """How a checkpoint is measured, whoever asks."""
    section = config.evaluation
    return RolloutLimits(
        max_response_tokens=section.max_response_tokens,
        max_turns=section.max_turns,
        temperature=section.temperature,
        top_p=section.top_p,
        tool_response_chars=config.protocol.tool_response_chars,
    )


def summarise(groups: Sequence[Group], *, seed: int) -> Summary:
    """The summary of graded groups; groups that lost all rollouts count only as dropped."""
    scored = [group for group in groups if group.rollouts]
    rollouts = [graded for group in scored for graded in group.rollouts]
    slipped = [graded for graded in rollouts if graded.rollout.num_tool_errors]
    estimate = mean_score(average_scores([group.rewards for group in scored]), seed=seed)
    return Summary(
        pass_at_1=estimate.value,
        pass_at_1_ci95=(estimate.low, estimate.high),
        tool_error_rate=tool_error_rate(rollouts),
        tool_error_rate_correct=tool_error_rate([r for r in rollouts if r.reward == 1.0]),
        recovery_rate=fmean(graded.reward for graded in slipped) if slipped else None,
        calls_per_rollout=fmean(len(r.rollout.call_statuses) for r in rollouts),
        tokens_per_rollout=fmean(r.rollout.num_response_tokens for r in rollouts),
        clip_ratio=fmean(r.rollout.ending is Ending.TOKEN_LIMIT for r in rollouts),
        num_rollouts=len(rollouts),
        num_dropped=sum(group.num_dropped for group in groups),
    )


def tool_error_rate(rollouts: Sequence[GradedRollout]) -> float:
    """Failed calls among all calls of these rollouts; 0 without calls."""
    calls = sum(len(r.rollout.call_statuses) for r in rollouts)
    return sum(r.rollout.num_tool_errors for r in rollouts) / calls if calls else 0.0


def pass_at_1_by_task(groups: Sequence[Group]) -> dict[str, float]:
    """Mean reward per task, tasks in alphabetical order."""
    tasks = sorted({group.problem.task for group in groups})
    return {
        task: fmean(r for g in groups if g.problem.task == task for r in g.rewards)
        for task in tasks
        if any(g.rewards for g in groups if g.problem.task == task)
    }
