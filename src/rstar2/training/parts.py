"""What a run is given by whoever assembles it, and what it tells whoever watches."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from rstar2.config import RunConfig
from rstar2.ports import Learner, Toolbox, WeightChannel
from rstar2.protocol.template import Template
from rstar2.rollout.collector import Collector
from rstar2.rollout.dispatcher import Dispatcher
from rstar2.rollout.placement.lengths import Lengths
from rstar2.telemetry.trackers import Trackers
from rstar2.types import Problem


class Watcher(Protocol):
    """A person's view of a run: a bar for the current work, and lines to read."""

    def begin(self, label: str, total: int) -> None:
        """A new bar of `total` units."""

    def advance(self) -> None: ...

    def line(self, text: str) -> None: ...


class SilentWatcher:
    """Shows nothing."""

    def begin(self, label: str, total: int) -> None: ...

    def advance(self) -> None: ...

    def line(self, text: str) -> None: ...


async def keep_awake() -> None:
    """What engines with a memory of their own do while the learner works."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The concrete parts of one run, seen through their ports."""

    config: RunConfig
    folder: Path
    template: Template
    tools: Toolbox
    learner: Learner
    channel: WeightChannel
    dispatcher: Dispatcher
    lengths: Lengths
    """Memory of the dispatcher's policy."""
    collector: Collector
    train: Sequence[Problem]
    test: Sequence[Problem]
    corpus: Sequence[Problem]
    """Problems whose questions the tiny base reads; disjoint from `test` by split."""
    base_cache: Path | None
    """Where the pre-trained base is kept between runs; None if the base comes from elsewhere."""
    export: Callable[[Path], None]
    """Writes the policy and its tokenizer as an ordinary Hugging Face folder."""
    engine_stats: Callable[[], Mapping[str, float]]
    """Counters of the engines since the last call, for the metrics."""
    watcher: Watcher
    rest: Callable[[], Awaitable[None]] = keep_awake
    """Called before the learner works: engines may leave it their memory until they adopt new weights."""
    trackers: Trackers = field(default_factory=Trackers)
