"""The arms of the reproduction: each is the recipe of the config with one thing changed.

An arm is overrides as a user would write them behind `rstar2 train CONFIG -s ...`; nothing else differs, so
that any arm can be run by hand. They are written for a config whose stages oversample.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from rstar2.config import RunConfig
from rstar2.errors import InputError

Start = Literal["base", "sft"]

BASELINE = "g_of_g"
"""What the other arms are compared with."""
MAIN_ARMS = (BASELINE, "random", "topk")
"""Whether RoC does what the paper says, and whether oversampling alone would."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One way to train."""

    name: str
    title: str
    """In tables."""
    overrides: tuple[str, ...] = ()
    foundation: "Arm | None" = None
    """Whose model it starts from; None if from nothing."""
    start: Start = "sft"
    """Which model of the foundation that is."""
    has_own_sft: bool = False
    """It is taught its form itself, before its RL."""


_NO_RL = ("stages=[]", "plan.mean_response_tokens=[]")
FOUNDATION = Arm(name="foundation", title="base and SFT", overrides=_NO_RL)
LARGE_FOUNDATION = Arm(
    name="large_foundation",
    title="base of ten times the size",
    overrides=(
        *_NO_RL,
        "sft.steps=0",
        "model.tiny.hidden_size=640",
        "model.tiny.num_layers=5",
        "model.tiny.num_heads=8",
        "model.tiny.num_kv_heads=4",
        "model.tiny.head_dim=64",
        "model.tiny.intermediate_size=1728",
        "model.tiny.initial_std=0.04",
    ),
)
"""22 million parameters beside the 1.8 of tiny.toml."""


def arms_of(config: RunConfig) -> tuple[Arm, ...]:
    """All arms that can be made of a config, the baseline first."""
    just_enough = _in_stages("oversample", [stage.group_size for stage in config.stages])
    after_sft = partial(Arm, foundation=FOUNDATION)
    untooled = partial(Arm, overrides=("tools.enabled=[]",), start="base", has_own_sft=True)
    return (
        after_sft(name=BASELINE, title="GRPO, G rollouts", overrides=("roc.mode=off", *just_enough)),
        after_sft(name="all_2g", title="GRPO, all 2G", overrides=("roc.mode=off",)),
        after_sft(name="random", title="random G of 2G", overrides=("roc.mode=random",)),
        after_sft(name="topk", title="RoC, cleanest first", overrides=("roc.mode=topk",)),
        after_sft(name="weighted", title="RoC, by 1/penalty", overrides=("roc.mode=weighted",)),
        after_sft(name="only_errors", title="RoC, p_err alone", overrides=("roc.use_format_penalty=false",)),
        after_sft(
            name="only_format", title="RoC, p_format alone", overrides=("roc.use_error_penalty=false",)
        ),
        Arm(name="no_sft", title="no SFT", foundation=FOUNDATION, start="base"),
        *_of_stages(config),
        untooled(name="no_tools", title="no tools", foundation=FOUNDATION),
        untooled(name="no_tools_large", title="no tools, 12 x the size", foundation=LARGE_FOUNDATION),
    )


def _of_stages(config: RunConfig) -> tuple[Arm, ...]:
    """How the stages follow each other: nothing, where they are all alike or there is one."""
    limits = [stage.max_response_tokens for stage in config.stages]
    longest = [max(limits, default=0)] * len(limits)
    filters, no_filters = [stage.problems for stage in config.stages], ["all"] * len(limits)
    changes = (
        ("reversed", "long limit first", "max_response_tokens", limits, sorted(limits, reverse=True)),
        ("one_length", "long limit always", "max_response_tokens", limits, longest),
        ("no_filter", "mastered problems stay", "problems", filters, no_filters),
    )
    return tuple(
        Arm(name=name, title=title, overrides=_in_stages(key, changed), foundation=FOUNDATION)
        for name, title, key, usual, changed in changes
        if changed != usual
    )


def first_stage_alone(config: RunConfig) -> RunConfig:
    """The config of a run that ends where the paper's comparison does."""
    plan = config.plan.model_copy(update={"mean_response_tokens": config.plan.mean_response_tokens[:1]})
    return config.model_copy(update={"stages": config.stages[:1], "plan": plan})


def chosen(arms: Sequence[Arm], names: Sequence[str]) -> tuple[Arm, ...]:
    """The arms of these names, in the order of `arms`, the baseline always among them."""
    known = {arm.name for arm in arms}
    if unknown := sorted(set(names) - known):
        raise InputError(f"there is no arm '{unknown[0]}': choose among {', '.join(sorted(known))}")
    return tuple(arm for arm in arms if arm.name in {BASELINE, *names})


def _in_stages(key: str, values: Sequence[object]) -> tuple[str, ...]:
    return tuple(f"stages.{index}.{key}={value}" for index, value in enumerate(values))
