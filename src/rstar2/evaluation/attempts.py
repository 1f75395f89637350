"""What attempts at a benchmark's problems say of a policy, read from their transcripts.

A transcript keeps everything that is measured, so that an evaluation that was stopped ends with the numbers
of one that was not.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any, Self

from rstar2.evaluation.pass_at_k import Estimate, average_scores, mean_score, pass_at_k_estimates
from rstar2.types import Ending, ToolStatus

Record = Mapping[str, Any]
"""One rollout, as `transcript.readable` writes it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One graded rollout, as far as numbers go."""

    reward: float
    statuses: tuple[ToolStatus, ...]
    """One per answered or malformed call."""
    num_tokens: int
    """After the prompt, tool responses included."""
    is_cut: bool
    """By the token limit."""

    @classmethod
    def of(cls, record: Record) -> Self:
        return cls(
            reward=record["reward"],
            statuses=tuple(map(ToolStatus, record["statuses"])),
            num_tokens=record["tokens"],
            is_cut=record["ending"] == Ending.TOKEN_LIMIT,
        )

    @property
    def num_errors(self) -> int:
        return sum(status.is_error for status in self.statuses)


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkScore:
    """One policy on one benchmark. Shares are in [0, 1]."""

    average: Estimate
    """avg@n, also called mean pass@1, with its interval over problems."""
    pass_at_k: dict[int, Estimate]
    tokens: Estimate
    """Mean per response, with its interval over problems."""
    calls: float
    """Mean per rollout."""
    tool_error_rate: float
    """Failed calls among all calls; 0 without calls."""
    recovery_rate: float | None
    """Right rollouts among those with a failed call; None if no call failed."""
    cut_rate: float
    """Rollouts that met the token limit."""
    num_problems: int
    num_attempts: int

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def benchmark_score(
    attempts_P: Sequence[Sequence[Attempt]], ks: Sequence[int], *, seed: int
) -> BenchmarkScore:
    """The score of all problems that kept an attempt; pass@k of those that kept at least k, where any did."""
    kept = [attempts for attempts in attempts_P if attempts]
    every = [attempt for attempts in kept for attempt in attempts]
    rewards = [[attempt.reward for attempt in attempts] for attempts in kept]
    num_calls = sum(len(attempt.statuses) for attempt in every)
    slipped = [attempt for attempt in every if attempt.num_errors]
    return BenchmarkScore(
        average=mean_score(average_scores(rewards), seed=seed),
        pass_at_k=pass_at_k_estimates(rewards, ks, seed=seed),
        tokens=mean_score([fmean(a.num_tokens for a in attempts) for attempts in kept], seed=seed),
        calls=num_calls / len(every) if every else 0.0,
        tool_error_rate=sum(a.num_errors for a in every) / num_calls if num_calls else 0.0,
        recovery_rate=fmean(attempt.reward for attempt in slipped) if slipped else None,
        cut_rate=fmean(attempt.is_cut for attempt in every) if every else 0.0,
        num_problems=len(kept),
        num_attempts=len(every),
    )
