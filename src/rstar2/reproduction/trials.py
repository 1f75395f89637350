"""A trial is an arm with a seed: where it lies, how it is run, and what must have run before.

FOLDER/seed-0/foundation/   base and SFT, which arms of a seed share
FOLDER/seed-0/topk/         an ordinary run folder: `rstar2 report` reads it
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rstar2.reproduction.arms import Arm

DONE = "done"
"""A file in the folder of a trial whose command ended well."""


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
        arm = self.arm.foundation
        return None if arm is None else Trial(arm=arm, seed=self.seed)

    def arguments(self, config: Path, root: Path) -> tuple[str, ...]:
        """Of `rstar2`, one thread each: as many trials run at once as there are cores."""
        overrides = [f"run.seed={self.seed}", "run.threads=1", *self.arm.overrides]
        if self.foundation is None:
            overrides.append(f"pretraining.seed={self.seed}")
        else:
            overrides.append(f"model.base={self.foundation.folder(root) / 'models' / self.arm.start}")
            if not self.arm.has_own_sft:
                overrides.append("sft.steps=0")
        settings = (word for override in overrides for word in ("-s", override))
        return ("train", str(config), "--run", str(self.folder(root)), *settings)


def trials_of(arms: Sequence[Arm], seeds: Iterable[int]) -> tuple[Trial, ...]:
    """Seed by seed, each after what its arms start from: what is finished first can be compared first."""
    foundations = dict.fromkeys(arm.foundation for arm in arms if arm.foundation is not None)
    return tuple(Trial(arm=arm, seed=seed) for seed in seeds for arm in (*foundations, *arms))


def ready(trials: Sequence[Trial], *, done: Iterable[Trial], begun: Iterable[Trial]) -> list[Trial]:
    """Those that may begin now, in order."""
    ended, taken = set(done), {*done, *begun}
    return [t for t in trials if t not in taken and (t.foundation is None or t.foundation in ended)]
