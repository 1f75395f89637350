"""What may differ from a run's config when the run goes on, by the dotted paths of keys; says nothing of how.

free      how the work is laid out, watched and saved. The run learns the same, though where it repeated
          bit by bit, it need not any more: sums are in another order, or batches of other company.
by flag   what is learned, or how it is measured, from here on: the run's shape, and so its state, stays
refused   everything else: seed, problems, prompts, tools, model, phases; it would be another run
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from rstar2.config.run import RunConfig

FREE = (
    *("run.threads", "run.reproducible", "run.tool_delay_steps"),
    *("run.checkpoint_every_s", "run.keep_checkpoints", "run.save_rollouts"),
    *("engine.num_engines", "engine.kv_tokens", "engine.max_running", "engine.block_tokens"),
    *("engine.device", "engine.eager", "engine.weights", "engine.sleeps_while_learning"),
    *("engine.url", "engine.token_file"),
    "rollout.policy",
    *("sandbox.workers", "sandbox.urls", "sandbox.token_file", "sandbox.isolation"),
    *("tools.live_sessions", "tools.mcp.*.url", "tools.mcp.*.token_file", "tools.mcp.*.start_limit_s"),
    *("learner.num_ranks", "learner.device", "learner.hang_limit_s"),
    *("learner.micro_batch_tokens", "learner.logprob_chunk_tokens"),
    *("tracking.*", "cluster.*", "plan.*"),
)
BY_FLAG = (
    *("pretraining.lr", "sft.lr", "sft.max_tokens", "stages.*.lr", "stages.*.max_response_tokens"),
    *("learner.betas", "learner.weight_decay", "learner.grad_clip", "learner.bf16"),
    *("learner.clip_low", "learner.clip_high", "learner.importance_cap"),
    *("engine.dtype", "rollout.max_lag", "sandbox.*_limit_*", "evaluation.*"),
)
"""Patterns, in which `*` stands for anything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One key that differs."""

    key: str
    before: Any
    """None where the key is absent or unset."""
    now: Any

    def __str__(self) -> str:
        return f"{self.key} = {_as_text(self.now)} (was {_as_text(self.before)})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    free: tuple[Change, ...]
    by_flag: tuple[Change, ...]
    refused: tuple[Change, ...]

    @property
    def all(self) -> tuple[Change, ...]:
        """The gravest first."""
        return self.refused + self.by_flag + self.free


def changes_between(before: RunConfig, now: RunConfig) -> Changes:
    """Every key that differs, sorted by what it means for the run."""
    old, new = (dict(_leaves(config.model_dump(mode="json"))) for config in (before, now))
    changed = [
        Change(key=key, before=old.get(key), now=new.get(key))
        for key in {**old, **new}
        if old.get(key) != new.get(key)
    ]
    free = tuple(change for change in changed if _is_among(FREE, change.key))
    by_flag = tuple(change for change in changed if _is_among(BY_FLAG, change.key))
    refused = tuple(change for change in changed if not _is_among(FREE + BY_FLAG, change.key))
    return Changes(free=free, by_flag=by_flag, refused=refused)


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted path, value) of all that has no parts of its own; an empty part is such a value."""
    if isinstance(value, list) and any(isinstance(entry, Mapping) for entry in value):
        value = {str(number): entry for number, entry in enumerate(value)}
    if isinstance(value, Mapping) and value:
        for name, part in value.items():
            yield from _leaves(part, f"{path}.{name}" if path else name)
    else:
        yield path, value


def _is_among(patterns: tuple[str, ...], key: str) -> bool:
    return any(fnmatchcase(key, pattern) for pattern in patterns)


def _as_text(value: Any) -> str:
    return "unset" if value is None else json.dumps(value, ensure_ascii=False)
