"""Every arm is a valid recipe that differs from the others in what its name says."""

from pathlib import Path

import pytest

from rstar2.config import load_config
from rstar2.errors import InputError
from rstar2.reproduction.arms import BASELINE, MAIN_ARMS, arms_of, chosen, first_stage_alone

CONFIG = Path(__file__).parents[2] / "configs" / "reproduce.toml"
LOADED = load_config(CONFIG)
ARMS = {arm.name: arm for arm in arms_of(LOADED)}


def test_every_arm_is_a_recipe_of_its_own() -> None:
    recipes = [(load_config(CONFIG, arm.overrides), arm.start) for arm in ARMS.values()]
    assert LOADED.roc.mode == "topk"
    same_as_the_config = [
        name for name, recipe in zip(ARMS, recipes, strict=True) if recipe == (LOADED, "sft")
    ]
    assert same_as_the_config == ["topk"]
    assert all(a != b for i, a in enumerate(recipes) for b in recipes[:i])


def test_the_baseline_plays_as_many_rollouts_as_it_learns_from() -> None:
    config = load_config(CONFIG, ARMS[BASELINE].overrides)
    assert config.roc.mode == "off"
    assert [(s.oversample, s.group_size) for s in config.stages] == [(8, 8)] * 3


def test_arms_of_stage_lengths_change_only_those() -> None:
    lengths = [stage.max_response_tokens for stage in LOADED.stages]
    assert lengths == [220, 360, 360]
    backwards, long = (load_config(CONFIG, ARMS[name].overrides) for name in ("reversed", "one_length"))
    assert [stage.max_response_tokens for stage in backwards.stages] == [360, 360, 220]
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
