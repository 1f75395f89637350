"""Every arm is a valid recipe that differs from the others in what its name says."""

from pathlib import Path

import pytest

from rstar2.config import load_config
from rstar2.errors import InputError
from rstar2.planning.policy import policy_shape
from rstar2.reproduction.arms import (
    BASELINE,
    FOUNDATION,
    LARGE_FOUNDATION,
    MAIN_ARMS,
    arms_of,
    chosen,
    first_stage_alone,
)

CONFIG = Path(__file__).parents[2] / "configs" / "reproduce.toml"
LOADED = load_config(CONFIG)
ARMS = {arm.name: arm for arm in arms_of(LOADED)}


def test_every_arm_is_a_recipe_of_its_own() -> None:
    recipes = [
        (load_config(CONFIG, arm.overrides), arm.foundation, arm.start, arm.has_own_sft)
        for arm in ARMS.values()
    ]
    assert LOADED.roc.mode == "topk"
    usual = (LOADED, FOUNDATION, "sft", False)
    same_as_the_config = [name for name, recipe in zip(ARMS, recipes, strict=True) if recipe == usual]
    assert same_as_the_config == ["topk"]
    assert all(a != b for i, a in enumerate(recipes) for b in recipes[:i])


def test_the_baseline_plays_as_many_rollouts_as_it_learns_from() -> None:
    config = load_config(CONFIG, ARMS[BASELINE].overrides)
    assert config.roc.mode == "off"
    assert [(s.oversample, s.group_size) for s in config.stages] == [(8, 8)] * 3


def test_arms_of_stage_lengths_change_only_those() -> None:
    lengths = [stage.max_response_tokens for stage in LOADED.stages]
    assert lengths == [260, 360, 360]
    backwards, long = (load_config(CONFIG, ARMS[name].overrides) for name in ("reversed", "one_length"))
    assert [stage.max_response_tokens for stage in backwards.stages] == [360, 360, 260]
    assert [stage.max_response_tokens for stage in long.stages] == [360, 360, 360]


def test_named_arms_come_with_the_baseline_in_the_usual_order() -> None:
    assert [arm.name for arm in chosen(tuple(ARMS.values()), ["weighted", "random"])] == [
        BASELINE,
        "random",
        "weighted",
    ]
    assert set(MAIN_ARMS) <= ARMS.keys()


def test_an_unknown_arm_is_named_with_those_that_are_known() -> None:
    with pytest.raises(InputError, match=r"no arm 'roc'.*g_of_g.*topk"):
        chosen(tuple(ARMS.values()), ["roc"])


def test_the_first_stage_alone_is_a_recipe_too() -> None:
    short = first_stage_alone(LOADED)
    assert [stage.name for stage in short.stages] == ["rl1"]
    assert load_config(CONFIG).stages[0] == short.stages[0]


def test_of_a_single_stage_no_order_is_changed() -> None:
    left_out = {"reversed", "one_length", "no_filter"}
    assert {arm.name for arm in arms_of(first_stage_alone(LOADED))} == ARMS.keys() - left_out


def test_the_large_model_is_at_least_ten_times_the_tiny_one() -> None:
    tiny, large = (
        policy_shape(load_config(CONFIG, foundation.overrides).model).num_parameters
        for foundation in (FOUNDATION, LARGE_FOUNDATION)
    )
    assert large >= 10 * tiny


def test_arms_without_tools_offer_none_and_are_taught_to_answer() -> None:
    for name in ("no_tools", "no_tools_large"):
        config = load_config(CONFIG, ARMS[name].overrides)
        assert config.tools.enabled == ()
        assert (ARMS[name].start, ARMS[name].has_own_sft) == ("base", True)
        assert config.sft.steps > 0
