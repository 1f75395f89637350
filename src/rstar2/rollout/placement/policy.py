"""What a placement policy hears and what it may order.

    ready -> [Start] -> turn runs -> turn_ended -> (tool runs) -> ready ... -> ended
                  \\-- [Stop] -> ready again, with the tokens it has by then
    engine_lost -> ready again for every rollout that had a turn there;  engine_returned: it may get turns

A policy never learns how long a rollout will be before it has ended. Invariant of every policy: a rollout
is started only when it is ready, and once per readiness.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from rstar2.types import EngineLoad


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """A rollout that wants its next turn written: at first, after a tool call, after a Stop or a loss."""

    rollout_id: str
    group_id: str
    """Rollouts of one group share their first `prompt_tokens` tokens."""
    prompt_tokens: int
    num_tokens: int
    """So far, prompt included."""
    max_total_tokens: int
    """Longest it may become, prompt included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Write the next turn on this engine."""

    rollout_id: str
    engine: int
    reserved_tokens: int | None
    """KV room that the policy keeps for it, prompt included; None leaves admission to the engine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """Break off its turn, or drop the prefix kept for it; its room is free again, its tokens are not lost."""

    rollout_id: str


Order: TypeAlias = Start | Stop


class Policy(Protocol):
    """Decides for all engines of a run; lives as long as they do."""

    def ready(self, rollout: Ready) -> None: ...

    def turn_ended(self, rollout_id: str, num_tokens: int) -> None:
        """Its tool runs now; `num_tokens` so far, prompt included."""

    def ended(self, rollout_id: str, num_tokens: int, *, is_complete: bool) -> None:
        """It will never be ready again; `is_complete` unless it was given up: only then its length counts."""

    def engine_lost(self, engine: int) -> None:
        """Nothing may be started there; nothing on it is kept."""

    def engine_returned(self, engine: int) -> None:
        """A lost one, or its replacement: it is empty, and turns may be started there again."""

    def decide(self, loads: Sequence[EngineLoad]) -> list[Order]:
        """What to do now. Reads of `loads` only what it needs: a load may cost a message to make."""
