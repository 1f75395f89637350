"""How rollouts use their tools, counted from what was recorded alone; no policy is asked.

    failed        malformed, unknown tool, bad arguments, exception, time or memory limit
    redundant     a call that ran the same program, on the same input, as an earlier call of its rollout, but
                  for blanks that Python ignores, or whose response is that of an earlier successful call
    verification  a successful call by another program, after the rollout's final answer had already stood in
                  the response to an earlier successful call: all that it can still do is to check

A verification that agrees gives the same response again, so it is counted as redundant too: read both.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rstar2.evaluation.behaviour.ratios import change, ratio
from rstar2.evaluation.behaviour.recorded import RecordedRollout, RecordedTurn
from rstar2.evaluation.pass_at_k import Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class Conduct:
    """What one rollout did, as numbers."""

    problem_id: str
    is_right: bool
    num_turns: int
    num_tokens: int
    """Written by the model."""
    num_calls: int
    num_failed: int
    num_redundant: int
    num_verifications: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """A ratio of two counts."""

    title: str
    over: Callable[[Conduct], float]
    under: Callable[[Conduct], float]
    is_share: bool
    """Of a whole, to be written in percent."""

    def of(self, rollouts: Sequence[Conduct], *, seed: int) -> Estimate | None:
        return ratio(rollouts, self.over, self.under, seed=seed)

    def change(self, before: Sequence[Conduct], after: Sequence[Conduct], *, seed: int) -> Estimate | None:
        return change(before, after, self.over, self.under, seed=seed)


def _one(_: Conduct) -> float:
    return 1.0


MEASURES = (
    Measure(title="right", over=lambda c: c.is_right, under=_one, is_share=True),
    Measure(title="turns", over=lambda c: c.num_turns, under=_one, is_share=False),
    Measure(title="tokens written", over=lambda c: c.num_tokens, under=_one, is_share=False),
    Measure(title="calls", over=lambda c: c.num_calls, under=_one, is_share=False),
    Measure(
        title="calls per right answer",
        over=lambda c: c.num_calls,
        under=lambda c: c.is_right,
        is_share=False,
    ),
    Measure(title="failed calls", over=lambda c: c.num_failed, under=lambda c: c.num_calls, is_share=True),
    Measure(
        title="right after a failed call",
        over=lambda c: c.is_right and c.num_failed > 0,
        under=lambda c: c.num_failed > 0,
        is_share=True,
    ),
    Measure(
        title="redundant calls", over=lambda c: c.num_redundant, under=lambda c: c.num_calls, is_share=True
    ),
    Measure(
        title="verified before answering", over=lambda c: c.num_verifications > 0, under=_one, is_share=True
    ),
)


def conduct(rollout: RecordedRollout) -> Conduct:
    """The counts of one rollout."""
    statuses = [turn.status for turn in rollout.turns if turn.status is not None]
    return Conduct(
        problem_id=rollout.problem_id,
        is_right=rollout.is_right,
        num_turns=len(rollout.turns),
        num_tokens=rollout.num_model_tokens,
        num_calls=len(statuses),
        num_failed=sum(status.is_error for status in statuses),
        num_redundant=num_redundant(rollout.turns),
        num_verifications=num_verifications(rollout.turns, rollout.answer),
    )


def num_redundant(turns: Sequence[RecordedTurn]) -> int:
    """Calls that could tell nothing new, or did not."""
    programs: set[tuple[str, ...]] = set()
    responses: set[str] = set()
    count = 0
    for turn in turns:
        if turn.code is None or turn.status is None:
            continue
        program = _program(turn.code)
        count += program in programs or (turn.response in responses and not turn.status.is_error)
        programs.add(program)
        if turn.response is not None and not turn.status.is_error:
            responses.add(turn.response)
    return count


def num_verifications(turns: Sequence[RecordedTurn], answer: str | None) -> int:
    """Successful calls by another program after the final answer had been seen."""
    if answer is None:
        return 0
    shown = re.compile(rf"(?<![\w.-]){re.escape(answer)}(?!\.?\w)")
    programs: set[tuple[str, ...]] = set()
    is_seen, count = False, 0
    for turn in turns:
        if turn.code is None or turn.status is None or turn.status.is_error:
            continue
        program = _program(turn.code)
        count += is_seen and program not in programs
        programs.add(program)
        is_seen = is_seen or (turn.response is not None and shown.search(turn.response) is not None)
    return count


def _program(code: str) -> tuple[str, ...]:
    """Its lines, indented as they are: empty ones and blanks at their ends change nothing."""
    return tuple(line.rstrip() for line in code.splitlines() if line.strip())
