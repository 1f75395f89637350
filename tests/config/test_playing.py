"""What kinds of engines need, and refuse, is said before anything starts."""

from typing import Any

import pytest

from rstar2.config import parse_config
from rstar2.errors import ConfigError


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            {"engine": {"url": "http://a:1/v1"}},
            'engine: url, model and token_file name a server: set kind = "r',
        ),
        ({"engine": {"kind": "vllm", "model": "m"}}, "url, model and token_file name a server"),
        ({"engine": {"kind": "remote", "url": "a:1"}}, "needs url as http://HOST:PORT/v1, not 'a:1'"),
        ({"engine": {"kind": "remote", "url": "http://a:1/v1", "num_engines": 2}}, "one server: leave"),
        ({"engine": {"eager": True}}, 'eager and sleeps_while_learning are for kind = "vllm"'),
        (
            {"engine": {"weights": "broadcast"}, "cluster": {"weights_folder": "/shared"}},
            "a broadcast needs no cluster.weights_folder",
        ),
        ({"engine": {"kind": "vllm", "block_tokens": 40}}, "engine.block_tokens: Input should be a multiple"),
        ({"engine": {"kind": "vllm"}}, "takes heads of 32, 64, 96, ..., not model.tiny.head_dim = 48"),
        (
            {
                "engine": {"kind": "vllm", "sleeps_while_learning": True},
                "model": {"base": "some/model"},
                "rollout": {"max_lag": 1},
                "learner": {"importance_cap": 2.0},
            },
            "engines work while the learner does",
        ),
    ],
)
def test_settings_that_an_engine_cannot_have_are_refused(data: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(data)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "data",
    [
        {"engine": {"kind": "vllm"}, "model": {"tiny": {"head_dim": 32}}},
        {"engine": {"kind": "vllm", "sleeps_while_learning": True}, "model": {"base": "some/model"}},
        {"engine": {"kind": "remote", "url": "https://a/v1", "model": "m", "token_file": "t"}},
    ],
)
def test_each_kind_takes_its_own_settings(data: dict[str, Any]) -> None:
    assert parse_config(data).engine.kind == data["engine"]["kind"]
