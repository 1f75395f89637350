"""A run's numbers in Weights & Biases: one run of theirs for one of ours, however often it is resumed.

The optimizer's step is a value among others, and their curves are drawn over it: their own steps can only
grow, so that steps taken again after a kill would be lost.
"""

import tomllib
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import wandb

STEP = "optimizer_step"


class WandbSink:
    """Writes to RUN/wandb, and to the service unless `mode` is offline."""

    def __init__(self, folder: Path, *, project: str, mode: Literal["online", "offline"]) -> None:
        config = folder / "config.toml"
        self._run = wandb.init(
            project=project,
            name=folder.resolve().name,
            id=_run_id(folder / "wandb"),
            resume="allow",
            dir=folder,
            mode=mode,
            config=tomllib.loads(config.read_text(encoding="utf-8")) if config.exists() else {},
            settings=wandb.Settings(console="off", silent=True),
        )
        self._run.define_metric("*", step_metric=STEP)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log({STEP: step, **values})

    def close(self) -> None:
        self._run.finish()


def has_credentials() -> bool:
    """Whether the service can be reached as somebody, without asking a person."""
    return bool(wandb.login(prompt=False))


def _run_id(folder: Path) -> str:
    """Made up once and kept: a folder that is deleted and filled again is another run."""
    path = folder / "run-id"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(uuid.uuid4().hex[:12], encoding="utf-8")
    return path.read_text(encoding="utf-8")
