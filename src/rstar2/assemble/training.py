"""All that a training run needs, in this process or on a cluster."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from rstar2.assemble.channel import channel_here, refuse_broadcast_within_a_process
from rstar2.assemble.learner import learning
from rstar2.assemble.players import Players, collecting, machines_here
from rstar2.assemble.policy import Policy, export, load_policy
from rstar2.assemble.problem_sets import problem_sets
from rstar2.assemble.refusals import refuse_rollouts_without_room, refuse_tasks_without_attempts
from rstar2.config import RunConfig
from rstar2.errors import ConfigError
from rstar2.learner.crew import CrewLearner
from rstar2.learner.learner import TorchLearner
from rstar2.ports import WeightChannel
from rstar2.telemetry.tracking import new_trackers
from rstar2.training.conversations import read_conversations
from rstar2.training.parts import Parts, Watcher, keep_awake

if TYPE_CHECKING:
    from rstar2.cluster.actors import Cluster

Sides = tuple[TorchLearner | CrewLearner, WeightChannel, Players]
"""Who learns, what new weights go through, and who plays."""


@asynccontextmanager
async def training_parts(
    config: RunConfig, folder: Path, watcher: Watcher, *, cluster: "Cluster | None" = None
) -> AsyncIterator[Parts]:
    """Everything a training run needs; on leaving, every process and task is ended."""
    if config.engine.kind == "remote":
        raise ConfigError('a server\'s weights cannot be swapped: train with another kind than "remote"')
    if config.engine.sleeps_while_learning and cluster is not None:
        raise ConfigError("engines of a cluster have GPUs of their own: engine.sleeps_while_learning = false")
    refuse_broadcast_within_a_process(config, on_cluster=cluster is not None)
    for name in config.sft.files:
        read_conversations(Path(name))  # SFT may be hours away. It reads them again: RL has no use for them
    trackers = new_trackers(config.tracking, folder)
    if config.run.threads:
        torch.set_num_threads(config.run.threads)
    train, test = problem_sets(
        config.problems, split=config.evaluation.split, seed=config.run.seed, say=watcher.line
    )
    refuse_tasks_without_attempts(config)
    policy = load_policy(config)
    sides = _sides_here(config, policy, folder)
    if cluster is not None:
        from rstar2.assemble.cluster import sides_on  # imports Ray, which nobody else needs

        sides = sides_on(cluster, config, policy, folder)
    with trackers:
        async with sides as (learner, channel, players):
            room_tokens = min(load.max_total_tokens for load in players.dispatcher.loads())
            refuse_rollouts_without_room(
                config, players.template, train=train, test=test, room_tokens=room_tokens
            )
            yield Parts(
                config=config,
                folder=folder,
                template=players.template,
                tools=players.tools,
                learner=learner,
                channel=channel,
                dispatcher=players.dispatcher,
                lengths=players.lengths,
                collector=players.collector,
                train=train,
                test=test,
                corpus=policy.corpus,
                base_cache=policy.base_cache,
                export=partial(export, learner.export, policy.tokenizer),
                engine_stats=players.stats_since_last_call,
                watcher=watcher,
                rest=players.rest if config.engine.sleeps_while_learning else keep_awake,
                trackers=trackers,
            )


@asynccontextmanager
async def _sides_here(config: RunConfig, policy: Policy, folder: Path) -> AsyncIterator[Sides]:
    with learning(config, policy.model) as learner:
        machines = await machines_here(config, policy)
        async with collecting(config, policy.tokenizer, machines) as players:
            # Opened last: processes that engines forked before have no part in it.
            with channel_here(config, folder) as channel:
                yield learner, channel, players
