"""All that a training run needs."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import torch

from rstar2.assemble.learner import learning, new_channel
from rstar2.assemble.players import collecting, machines_here
from rstar2.assemble.policy import export, load_policy
from rstar2.assemble.problem_sets import problem_sets
from rstar2.config import RunConfig
from rstar2.training.parts import Parts, Watcher


@asynccontextmanager
async def training_parts(config: RunConfig, folder: Path, watcher: Watcher) -> AsyncIterator[Parts]:
    """Everything a training run needs; on leaving, every process and task is ended."""
    if config.run.threads:
        torch.set_num_threads(config.run.threads)
    train, test = problem_sets(config.problems, split=config.evaluation.split, seed=config.run.seed)
    policy = load_policy(config)
    with learning(config, policy.model) as learner:
        machines = machines_here(config, policy.model, policy.tokenizer.eos_token_id)
        async with collecting(config, policy.tokenizer, machines) as players:
            yield Parts(
                config=config,
                folder=folder,
                template=players.template,
                tools=players.tools,
                learner=learner,
                channel=new_channel(config.learner, folder),
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
            )
