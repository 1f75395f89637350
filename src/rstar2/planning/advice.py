"""What to change first: found by planning again with one setting changed, not by rules of thumb.

If the plan does not fit, the first change that makes it fit, cheapest in time first; where no single one
does, they add up. If it fits, the one that saves most time without new machines.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import TypeAlias

from rstar2.config import RunConfig, parse_config
from rstar2.errors import ConfigError
from rstar2.planning.layout import longest_sample_tokens, make_layout, memory_plan
from rstar2.planning.plan import Plan, make_plan
from rstar2.profiles import ModelShape

Changes: TypeAlias = Mapping[str, int | float | str | bool]
"""Values by dotted path."""

_WORTHWHILE = 0.03
"""Savings below this share of the time are noise of the model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """Settings to change together, and the plan with them."""

    changes: Changes
    plan: Plan

    def __str__(self) -> str:
        values = (f"{path} = {str(value).lower()}" for path, value in self.changes.items())
        return ", ".join(values)


def first_change(config: RunConfig, model: ModelShape, plan: Plan) -> Advice | None:
    """None if nothing helps: a plan that does not fit then needs other machines or a smaller model."""
    if not plan.fits:
        return _that_fits(config, model)
    tried = filter(None, (_tried(config, model, changes) for changes in _faster(config, plan)))
    best = min(tried, key=lambda advice: advice.plan.total_s, default=None)
    if best is None or best.plan.total_s > (1 - _WORTHWHILE) * plan.total_s:
        return None
    return best


def with_changes(config: RunConfig, changes: Changes) -> RunConfig:
    """Checked like a file; ConfigError if the settings exclude each other."""
    data = config.model_dump(mode="json", exclude_none=True)
    for path, value in changes.items():
        section, key = path.split(".")
        data[section][key] = value
    return parse_config(data, origin="changed")


def _tried(config: RunConfig, model: ModelShape, changes: Changes) -> Advice | None:
    """The plan with these changes and the KV room that they leave; None if it cannot be or does not fit."""
    try:
        changed = with_changes(config, changes)
        room = memory_plan(make_layout(changed, model)).kv_room_tokens
        if changed.engine.kv_tokens > room or "cluster.accelerators_per_engine" in changes:
            changes = {**changes, "engine.kv_tokens": _rounded(room)}
            changed = with_changes(config, changes)
        if not memory_plan(make_layout(changed, model)).fits:
            return None
        return Advice(changes=changes, plan=make_plan(changed, model))
    except ConfigError:
        return None


def _that_fits(config: RunConfig, model: ModelShape) -> Advice | None:
    """Single changes first, then the first two of them together, the first three, and so on."""
    steps = list(_smaller(config))
    sums: list[Changes] = [dict(_merged(steps[:count])) for count in range(2, len(steps) + 1)]
    for changes in [*steps, *sums]:
        advice = _tried(config, model, changes)
        if advice is not None:
            return advice
    return None


def _merged(changes: Sequence[Changes]) -> Iterator[tuple[str, int | float | str | bool]]:
    for one in changes:
        yield from one.items()


def _smaller(config: RunConfig) -> Iterator[Changes]:
    """Ways to need less memory, by what they cost in time. The first changes nothing but the KV room."""
    cluster = config.cluster
    ranks = {} if config.learner.num_ranks else {"learner.num_ranks": 1}  # only they save what follows
    longest = longest_sample_tokens(config)
    yield {}
    if config.learner.micro_batch_tokens > longest:
        yield {"learner.micro_batch_tokens": longest}
    if not cluster.checkpoint_activations:
        yield {"cluster.checkpoint_activations": True, **ranks}
    if not cluster.offload_optimizer:
        yield {"cluster.offload_optimizer": True, **ranks}
    yield from _wider_engines(config)


def _wider_engines(config: RunConfig) -> Iterator[Changes]:
    """Half as many engines of twice as many accelerators; ranks of their own get what that leaves over."""
    per_engine, num_engines = config.cluster.accelerators_per_engine, config.engine.num_engines
    if num_engines % 2 == 0 or 2 * per_engine <= config.cluster.num_accelerators:
        num_wider = max(1, num_engines // 2)
        changes = {"cluster.accelerators_per_engine": 2 * per_engine, "engine.num_engines": num_wider}
        num_left = (num_engines - 2 * num_wider) * per_engine
        if num_left and not config.cluster.colocated:
            changes["learner.num_ranks"] = max(1, config.learner.num_ranks) + num_left
        yield changes


def _faster(config: RunConfig, plan: Plan) -> Iterator[Changes]:
    """Settings that may save time."""
    cluster, engine = config.cluster, config.engine
    room = _rounded(plan.memory.kv_room_tokens)
    if room > engine.kv_tokens:
        yield {"engine.kv_tokens": room}
        yield {"engine.kv_tokens": room, "engine.max_running": 2 * engine.max_running}
    yield {"engine.max_running": 2 * engine.max_running}
    num_fitting = cluster.num_accelerators // cluster.accelerators_per_engine
    if engine.num_engines < num_fitting and cluster.colocated:
        yield {"engine.num_engines": num_fitting}
    yield from _wider_engines(config)
    if cluster.accelerators_per_engine % 2 == 0:
        yield {
            "cluster.accelerators_per_engine": cluster.accelerators_per_engine // 2,
            "engine.num_engines": 2 * engine.num_engines,
        }
    yield {"learner.micro_batch_tokens": 2 * config.learner.micro_batch_tokens}
    if cluster.checkpoint_activations:
        yield {"cluster.checkpoint_activations": False}
    if cluster.offload_optimizer:
        yield {"cluster.offload_optimizer": False}
    crowding = max((stage.step.sandbox_s / stage.step.engines_s for stage in plan.stages), default=0.0)
    if crowding > 1 and not plan.accelerator.is_host:
        yield {"sandbox.workers": ceil(crowding * config.sandbox.workers)}


def _rounded(tokens: int) -> int:
    """To three digits, down."""
    unit: int = 10 ** max(0, len(str(tokens)) - 3)
    return tokens // unit * unit
