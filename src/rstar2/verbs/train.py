"""`rstar2 train`: run the recipe, then show what came of it and what to do next."""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rstar2 import checkpoint
from rstar2.assemble import training_parts
from rstar2.cluster.layout import blocks_of
from rstar2.cluster.runtime import connected
from rstar2.cluster.supervision import Progress
from rstar2.config import RunConfig, dump_config, load_config
from rstar2.config.changes import Change, Changes, changes_between
from rstar2.console import BarWatcher, console, progress_bar, show_text, summary_table
from rstar2.errors import ConfigError, InputError, LearnerError
from rstar2.evaluation.samples import last_evaluation, telling
from rstar2.protocol.response import shorten
from rstar2.rollout.transcript import as_text
from rstar2.telemetry import JsonLines, replace_text
from rstar2.training.progress import CHANGES_FILE
from rstar2.training.run import TrainingRun
from rstar2.verbs.alone import alone_in

if TYPE_CHECKING:
    from rstar2.cluster.actors import Cluster

_log = logging.getLogger(__name__)

_LONGEST_SAMPLE_CHARS = 1500
_LONGEST_CHANGE_CHARS = 120
_MOST_CHANGES = 8
"""That are named in one line."""


def run_training(
    config: RunConfig, folder: Path, *, cluster_address: str | None = None, accept_changes: bool = False
) -> None:
    """Train in `folder`; refuses one where another process trains, or that holds another run.

    With `accept_changes`, the run that is there may learn otherwise from here on.
    """
    on_cluster = nullcontext() if cluster_address is None else connected(cluster_address, blocks_of(config))
    with alone_in(folder, deed="trains in", option="--run"):
        changes = _changes(folder, config)
        _refuse_another_run(folder, changes, accept_changes=accept_changes)
        if changes.all:
            console.print(f"goes on with {_listed(changes.all)}", soft_wrap=True)
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
            if not progress.is_worth_a_restart(_newest_checkpoint(folder)):
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


def _newest_checkpoint(folder: Path) -> str:
    """Its name; empty if there is none."""
    return max(checkpoint.names(folder / "checkpoints"), default="")


def _changes(folder: Path, config: RunConfig) -> Changes:
    """Between the run that is there, if there is one, and this config."""
    path = folder / "config.toml"
    return changes_between(load_config(path) if path.exists() else config, config)


def _refuse_another_run(folder: Path, changes: Changes, *, accept_changes: bool) -> None:
    if changes.refused:
        raise ConfigError(
            f"'{folder}' holds a run with another config: {_listed(changes.refused + changes.by_flag)}: "
            "give another --run folder, or delete this one"
        )
    if changes.by_flag and not accept_changes:
        raise ConfigError(
            f"'{folder}' holds a run that learns otherwise: {_listed(changes.by_flag)}: "
            "give --accept-changes to go on with them, or another --run folder"
        )


def _listed(changes: Sequence[Change]) -> str:
    """So many that a person reads them."""
    named = [shorten(str(change), _LONGEST_CHANGE_CHARS) for change in changes[:_MOST_CHANGES]]
    more = len(changes) - len(named)
    return ", ".join(named) + (f", and {more} more" if more else "")


def _claim(folder: Path, config: RunConfig) -> None:
    """Let the folder's config tell the truth from here on, and another file what it was until here.

    That one is written first: after a kill in between, a change is noted twice, and not never.
    """
    changed = {change.key: [change.before, change.now] for change in _changes(folder, config).all}
    try:
        if changed:
            record = {"after": _newest_checkpoint(folder), "changed": changed}
            JsonLines(folder / CHANGES_FILE).append(record)
        replace_text(folder / "config.toml", dump_config(config))
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
