"""What a preparation is given by whoever starts it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from rstar2.config import PreparationConfig, SourceSection
from rstar2.preparation.manifest import SourceCount
from rstar2.preparation.served_model import Asked
from rstar2.types import Problem


class Progress(Protocol):
    """A person's view of the work: a bar for what is done now."""

    def begin(self, label: str, total: int) -> None:
        """A new bar of `total` units."""

    def advance(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One preparation; all that it changes is in its folder."""

    config: PreparationConfig
    folder: Path
    benchmarks: Mapping[str, Sequence[Problem]]
    """By name: what the trained model is measured on, and so not trained on."""
    progress: Progress
    checker: Asked | None = None
    """Confirms labels; None leaves them as published."""
    writer: Asked | None = None
    """Writes responses and prompts anew; None leaves them as published."""


def skipped(name: str, source: SourceSection) -> SourceCount:
    """The count of a source that was not even read."""
    return SourceCount(name=name, origin="", licence=source.licence, paper=source.paper)
