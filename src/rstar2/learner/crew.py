"""Many ranks as one learner: every call goes to all of them, and the first one's answer counts.

    CrewLearner  the `Learner` port: step, publish, reset_optimizer, save, restore; and export, close
        |
    Crew.call("step", ...)  ->  FsdpLearner.step(...) on rank 0, 1, 2, ...

Where ranks live is the crew's business: processes of this machine (`processes.py`), or a cluster's actors.
A rank that is lost takes its shards along, so nothing is tried again here: the crew ends with `LearnerError`.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from rstar2.errors import LearnerError
from rstar2.ports import Objective, OptimizerKind, WeightChannel
from rstar2.types import StepReport, TokenScore, TrainSample

RankFactory = Callable[[int, int], object]
"""(rank, number of ranks) -> what its calls go to; picklable, called where the rank lives, once the ranks can
talk to each other."""


class Crew(Protocol):
    """Ranks that do everything together."""

    def call(self, method: str, *args: object, **kwargs: object) -> list[Any]:
        """The same call on every rank; their results, in rank order. LearnerError if a rank is lost.

        An error that all ranks agree on, as of a checkpoint that cannot be read, is raised as it is, and
        leaves the crew at work.
        """

    def close(self) -> None:
        """End every rank; calling it twice is harmless."""


def lost(what: str) -> LearnerError:
    """The end of a crew, wherever its ranks are, with the remedy."""
    return LearnerError(f"{what}: start the run again, it goes on from its last checkpoint")


def no_answer(hang_limit_s: float) -> str:
    """What is lost when ranks hang; nobody can say which."""
    return f"the learner's ranks did not answer within learner.hang_limit_s = {hang_limit_s:g}"


class CrewLearner:
    """Implements the `Learner` port over ranks that are wherever the crew has them."""

    def __init__(self, crew: Crew) -> None:
        self._crew = crew

    def step(
        self, *shares: Sequence[TrainSample], objective: Objective, lr: float, temperature: float = 1.0
    ) -> StepReport:
        reports = self._crew.call("step", *shares, objective=objective, lr=lr, temperature=temperature)
        report: StepReport = reports[0]
        return report

    def score(
        self, sequences: Sequence[Sequence[int]], *, temperature: float = 1.0
    ) -> list[tuple[TokenScore, ...]]:
        scores: list[tuple[TokenScore, ...]] = self._crew.call("score", sequences, temperature=temperature)[0]
        return scores

    def publish(self, channel: WeightChannel, version: int) -> None:
        """The first rank puts the weights: the channel must reach from there, as a folder's does."""
        self._crew.call("publish", channel, version)

    def reset_optimizer(self, kind: OptimizerKind = OptimizerKind.ADAMW) -> None:
        self._crew.call("reset_optimizer", kind)

    def save(self, folder: Path) -> None:
        self._crew.call("save", folder)

    def restore(self, folder: Path) -> None:
        self._crew.call("restore", folder)

    def export(self, folder: Path) -> None:
        """The policy alone, as an ordinary Hugging Face folder."""
        self._crew.call("export", folder)

    def close(self) -> None:
        self._crew.close()
