"""A trial is an arm with a seed: where it lies, how it is run, and what must have run before.

FOLDER/seed-0/foundation/   base and SFT, which the arms of a seed share
FOLDER/seed-0/topk/         an ordinary run folder: `rstar2 report` reads it
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rstar2.reproduction.arms import Arm

DONE = "done"
"""A file in the folder of a trial whose command ended well."""

FOUNDATION = Arm(
    name="foundation", title="base and SFT", overrides=("stages=[]", "plan.mean_response_tokens=[]")
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One run of `rstar2 train`."""

    arm: Arm
    seed: int

    def folder(self, root: Path) -> Path:
        return root / f"seed-{self.seed}" / self.arm.name

    def is_done(self, root: Path) -> bool:
        return (self.folder(root) / DONE).exists()

    @property
    def foundation(self) -> "Trial | None":
        """What it starts from; None if it starts from nothing."""
        return None if self.arm == FOUNDATION else Trial(arm=FOUNDATION, seed=self.seed)

    def arguments(self, config: Path, root: Path) -> tuple[str, ...]:
        """Of `rstar2`, one thread each: as many trials run at once as there are cores."""
        overrides = [f"run.seed={self.seed}", "run.threads=1", *self.arm.overrides]
        if self.foundation is None:
            overrides.append(f"pretraining.seed={self.seed}")
        else:
            start = self.foundation.folder(root) / "models" / self.arm.start
            overrides += [f"model.base={start}", "sft.steps=0"]
        settings = (word for override in overrides for word in ("-s", override))
        return ("train", str(config), "--run", str(self.folder(root)), *settings)


def trials_of(arms: Sequence[Arm], seeds: Iterable[int]) -> tuple[Trial, ...]:
    """Seed by seed, each after its foundation: whatever is finished first can be compared first."""
    return tuple(Trial(arm=arm, seed=seed) for seed in seeds for arm in (FOUNDATION, *arms))


def ready(trials: Sequence[Trial], *, done: Iterable[Trial], begun: Iterable[Trial]) -> list[Trial]:
    """Those that may begin now, in order."""
    ended, taken = set(done), {*done, *begun}
    return [t for t in trials if t not in taken and (t.foundation is None or t.foundation in ended)]
