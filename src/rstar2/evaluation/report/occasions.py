"""Which rollouts a page shows, found without holding a long run's rollouts in memory.

An occasion is one step or one evaluation: its rollouts stand together in rollouts.jsonl, and are shown
together or not at all.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rstar2.evaluation.report.conversations import Record, is_evaluation
from rstar2.telemetry import Follower, Line


@dataclass(frozen=True, slots=True, kw_only=True)
class Occasion:
    """Where its rollouts stand in the file."""

    phase: str
    step: int
    begin: int
    end: int
    is_evaluation: bool


class RolloutFile:
    """The index of a rollouts.jsonl that may still grow."""

    def __init__(self, path: Path) -> None:
        self._follower = Follower(path)
        self._occasions: list[Occasion] = []

    def occasions(self) -> Sequence[Occasion]:
        """All so far, in the order of the run."""
        for line in self._follower.new_lines(on_cut_back=self._occasions.clear):
            self._add(line)
        return tuple(self._occasions)

    def records(self, occasion: Occasion) -> Iterator[Record]:
        lines = Follower(self._follower.path, begin=occasion.begin)
        for line in lines.new_lines(on_cut_back=lambda: None):
            if line.begin >= occasion.end:
                return
            yield line.record

    def _add(self, line: Line) -> None:
        phase, step = line.record["phase"], line.record["step"]
        if self._occasions and (last := self._occasions[-1]).phase == phase and last.step == step:
            self._occasions[-1] = replace(last, end=line.end)
        else:
            self._occasions.append(
                Occasion(
                    phase=phase,
                    step=step,
                    begin=line.begin,
                    end=line.end,
                    is_evaluation=is_evaluation(line.record),
                )
            )


def by_interest(occasions: Sequence[Occasion]) -> list[Occasion]:
    """Evaluations, then the last and first step of each stage, then the steps between, the roundest first.

    Round is what 2 divides often: such steps are spread evenly, and stay the same while a run goes on.
    """
    of_stage: dict[str, list[Occasion]] = {}
    for occasion in occasions:
        if not occasion.is_evaluation:
            of_stage.setdefault(occasion.phase, []).append(occasion)
    evaluations = [occasion for occasion in occasions if occasion.is_evaluation]
    ends = [occasion for steps in of_stage.values() for occasion in (steps[-1], steps[0])]
    between = sorted((o for steps in of_stage.values() for o in steps), key=lambda o: -(o.step & -o.step))
    return list(dict.fromkeys([*evaluations, *ends, *between]))
