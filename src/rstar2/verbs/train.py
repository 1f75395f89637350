"""`rstar2 train`: run the recipe, then show what came of it and what to do next."""

import asyncio
import logging
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rstar2.assemble import training_parts
from rstar2.cluster.layout import blocks_of
from rstar2.cluster.runtime import connected
from rstar2.cluster.supervision import Progress
from rstar2.config import RunConfig, dump_config, load_config
from rstar2.console import BarWatcher, console, progress_bar, show_text, summary_table
from rstar2.errors import ConfigError, InputError, LearnerError
from rstar2.evaluation.samples import last_evaluation, telling
from rstar2.protocol.response import shorten
from rstar2.rollout.transcript import as_text
from rstar2.telemetry import JsonLines
from rstar2.training.run import TrainingRun
from rstar2.verbs.alone import alone_in

if TYPE_CHECKING:
    from rstar2.cluster.actors import Cluster

_log = logging.getLogger(__name__)

_LONGEST_SAMPLE_CHARS = 1500


def run_training(config: RunConfig, folder: Path, *, cluster_address: str | None = None) -> None:
    """Train in `folder`; refuses one where another process trains, or that holds a run of another config."""
    on_cluster = nullcontext() if cluster_address is None else connected(cluster_address, blocks_of(config))
    with alone_in(folder, deed="trains in", option="--run"):
        _refuse_another_run(folder, config)
        with on_cluster as cluster, progress_bar() as watcher:
            summary = _train_to_the_end(config, folder, watcher, cluster)
    console.print(summary_table(summary["stages"]))
    _show_samples(folder)
    _show_next_commands(folder, last_phase=summary["stages"][-1]["name"])


def _train_to_the_end(
    config: RunConfig, folder: Path, watcher: BarWatcher, cluster: "Cluster | None"
) -> dict[str, Any]:
    """Also if ranks of the learner die, and their shards of the weights with them.

    All parts are then built anew, and the run goes on from its last checkpoint, as long as new ones appear.
    """
    progress = Progress()
    while True:
        try:
            return asyncio.run(_train(config, folder, watcher, cluster))
        except LearnerError as error:
            checkpoints = (path.name for path in (folder / "checkpoints").glob("step-*"))
            if not progress.is_worth_a_restart(max(checkpoints, default="")):
                raise LearnerError(
                    f"given up after {progress.most} restarts without a new checkpoint: {error}"
                ) from error
            _log.warning("%s", error)
            watcher.line("the learner is lost: its parts are built anew, from the last checkpoint")


async def _train(
    config: RunConfig, folder: Path, watcher: BarWatcher, cluster: "Cluster | None"
) -> dict[str, Any]:
    """The folder is filled only when all parts stand: a mistake in the input leaves nothing behind.

    Parts get it as an absolute path: the processes of a cluster do not stand where this one does.
    """
    async with training_parts(config, folder.absolute(), watcher, cluster=cluster) as parts:
        _claim(folder, config)
        return await TrainingRun(parts).go()


def _refuse_another_run(folder: Path, config: RunConfig) -> None:
    """Trackers may be others than before: they do not change what is learned."""
    path = folder / "config.toml"
    if path.exists() and load_config(path).model_copy(update={"tracking": config.tracking}) != config:
        raise ConfigError(
            f"'{folder}' holds a run with another config: give another --run folder, or delete this one"
        )


def _claim(folder: Path, config: RunConfig) -> None:
    try:
        (folder / "config.toml").write_text(dump_config(config), encoding="utf-8")
    except OSError as error:
        raise InputError(f"the run cannot be written ({error}): give another --run folder") from error


def _show_samples(folder: Path) -> None:
    for title, record in telling(last_evaluation(JsonLines(folder / "rollouts.jsonl"))).items():
        console.rule(title, align="left", style="dim")
        show_text(shorten(as_text(dict(record)), _LONGEST_SAMPLE_CHARS))
    console.rule(style="dim")


def _show_next_commands(folder: Path, *, last_phase: str) -> None:
    model = folder / "models" / last_phase
    console.print(f"The run is in {folder}. To go on:", soft_wrap=True)
    console.print(f"  rstar2 report {folder}", soft_wrap=True)
    console.print(f"  rstar2 chat --model {model}", soft_wrap=True)
    console.print(f"  rstar2 eval --model {model} --rollouts 8", soft_wrap=True)
