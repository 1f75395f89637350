"""Which keys may differ when a run goes on."""

from fnmatch import fnmatchcase
from typing import Any

import pytest

from rstar2.config import RunConfig, parse_config
from rstar2.config.changes import BY_FLAG, FREE, Change, _leaves, changes_between

RUN: dict[str, Any] = {
    "model": {"base": "org/model"},
    "problems": {"tasks": {"gcd": {}, "lcm": {"max_value": 50}}},
    "learner": {"importance_cap": 2.0},
    "tools": {"mcp": [{"name": "search", "url": "http://one:1"}]},
    "stages": [{"name": "rl1", "steps": 3}, {"name": "rl2", "steps": 3}],
}


def changed(**sections: Any) -> dict[str, tuple[str, ...]]:
    """What becomes of the run's keys with these sections instead, as texts."""
    found = changes_between(parse_config(RUN), parse_config({**RUN, **sections}))
    kinds = {"free": found.free, "by flag": found.by_flag, "refused": found.refused}
    return {kind: tuple(map(str, changes)) for kind, changes in kinds.items() if changes}


def stages(**second: Any) -> list[dict[str, Any]]:
    return [RUN["stages"][0], {**RUN["stages"][1], **second}]


def test_a_config_differs_from_itself_in_nothing() -> None:
    assert changed() == {}


@pytest.mark.parametrize(
    ("sections", "expected"),
    [
        (
            {"engine": {"num_engines": 36, "kv_tokens": 400_000}},
            {"free": ("engine.num_engines = 36 (was 1)", "engine.kv_tokens = 400000 (was 200000)")},
        ),
        ({"run": {"checkpoint_every_s": 600}}, {"free": ("run.checkpoint_every_s = 600.0 (was 20.0)",)}),
        ({"run": {"seed": 1}}, {"refused": ("run.seed = 1 (was 0)",)}),
        ({"stages": stages(lr=5e-7)}, {"by flag": ("stages.1.lr = 5e-07 (was 1e-06)",)}),
        ({"stages": stages(steps=4)}, {"refused": ("stages.1.steps = 4 (was 3)",)}),
        ({"learner": {}}, {"by flag": ("learner.importance_cap = unset (was 2.0)",)}),
        (
            {"learner": {"importance_cap": 2.0, "bf16": True, "lora": {"rank": 8}, "num_ranks": 2}},
            {
                "free": ("learner.num_ranks = 2 (was 0)",),
                "by flag": ("learner.bf16 = true (was false)",),
                "refused": ("learner.lora.rank = 8 (was 0)",),
            },
        ),
        (
            {"tools": {"mcp": [{"name": "search", "url": "http://two:2"}]}},
            {"free": ('tools.mcp.0.url = "http://two:2" (was "http://one:1")',)},
        ),
        (
            {"problems": {"tasks": {"lcm": {"max_value": 60}}}},
            {
                "refused": (
                    "problems.tasks.gcd = unset (was {})",
                    "problems.tasks.lcm.max_value = 60 (was 50)",
                )
            },
        ),
    ],
)
def test_keys_are_sorted_by_what_they_mean_for_the_run(
    sections: dict[str, Any], expected: dict[str, tuple[str, ...]]
) -> None:
    assert changed(**sections) == expected


def test_a_stage_more_or_less_is_refused() -> None:
    more = changes_between(
        parse_config(RUN), parse_config({**RUN, "stages": [*stages(), {"name": "rl3", "steps": 1}]})
    )
    assert Change(key="stages.2.name", before=None, now="rl3") in more.refused
    less = changes_between(parse_config(RUN), parse_config({**RUN, "stages": RUN["stages"][:1]}))
    assert Change(key="stages.1.name", before="rl2", now=None) in less.refused
    assert changes_between(parse_config(RUN), RunConfig()).refused


def test_every_pattern_is_of_a_key_that_exists_and_of_one_kind_alone() -> None:
    keys = [key for key, _ in _leaves(parse_config(RUN).model_dump(mode="json"))]
    found = {pattern: {key for key in keys if fnmatchcase(key, pattern)} for pattern in FREE + BY_FLAG}
    assert [pattern for pattern, of in found.items() if not of] == []
    free, by_flag = (set().union(*(found[pattern] for pattern in kind)) for kind in (FREE, BY_FLAG))
    assert free & by_flag == set()
