"""Seeds of turns: repeatable, and unlike each other."""

from hypothesis import given
from hypothesis import strategies as st

from rstar2.engines.turn_seed import turn_seed
from rstar2.types import GenerationRequest


def request(seed: int, num_tokens: int, **changes: object) -> GenerationRequest:
    values = {
        "rollout_id": "r", "group_id": "g", "token_ids": (3,) * num_tokens, "prompt_length": 1,
        "max_new_tokens": 5, "max_total_tokens": 99, "temperature": 1.0, "top_p": 1.0, "seed": seed,
    } | changes  # fmt: skip
    return GenerationRequest(**values)  # type: ignore[arg-type]


@given(st.integers(-(2**63), 2**63 - 1), st.integers(1, 50))
def test_a_seed_depends_on_the_rollouts_seed_and_the_position_alone(seed: int, num_tokens: int) -> None:
    found = turn_seed(request(seed, num_tokens))
    assert 0 <= found < 2**56
    assert found == turn_seed(request(seed, num_tokens, rollout_id="other", max_new_tokens=9))
    assert found != turn_seed(request(seed, num_tokens + 1))
    assert found != turn_seed(request(seed + 1, num_tokens))


def test_neighbouring_seeds_and_positions_do_not_meet() -> None:
    seeds = {turn_seed(request(seed, position)) for seed in range(60) for position in range(1, 60)}
    assert len(seeds) == 60 * 59
