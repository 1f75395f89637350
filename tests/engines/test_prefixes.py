"""What is kept between turns."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from rstar2.engines.prefixes import Kept, Prefixes, num_common
from rstar2.types import GenerationRequest


def request(rollout_id: str, *token_ids: int) -> GenerationRequest:
    return GenerationRequest(
        rollout_id=rollout_id, group_id="g", token_ids=token_ids, prompt_length=2, max_new_tokens=2,
        max_total_tokens=20, temperature=1.0, top_p=1.0, seed=0,
    )  # fmt: skip


def kept(*token_ids: int) -> Kept:
    return Kept(token_ids=token_ids, tensors=((torch.zeros(1), torch.zeros(1)),))


def test_the_longer_of_turn_and_prompt_is_taken_and_the_turn_only_once() -> None:
    prefixes = Prefixes()
    prefixes.join(request("a", 5, 6))
    prefixes.share("g", kept(5, 6))
    prefixes.park("a", kept(5, 6, 7, 8))
    again = request("a", 5, 6, 7, 9, 9)
    assert prefixes.reusable(again) == 3
    assert prefixes.take(again)[0] == 3
    assert prefixes.take(again)[0] == 2


def test_one_token_is_always_left_to_compute() -> None:
    prefixes = Prefixes()
    prefixes.share("g", kept(5, 6, 7))
    assert prefixes.reusable(request("a", 5, 6, 7)) == 2
    assert prefixes.reusable(request("a", 5)) == 0


def test_a_prompt_is_kept_until_the_last_member_of_its_group_leaves() -> None:
    prefixes = Prefixes()
    prefixes.join(request("a", 5, 6))
    prefixes.join(request("b", 5, 6))
    prefixes.share("g", kept(5, 6))
    prefixes.leave("a")
    prefixes.leave("a")
    assert prefixes.has_prompt("g")
    prefixes.leave("b")
    assert not prefixes.has_prompt("g")
    prefixes.leave("unknown")


def test_dropping_forgets_tensors_but_not_members() -> None:
    prefixes = Prefixes()
    prefixes.join(request("a", 5, 6))
    prefixes.share("g", kept(5, 6))
    prefixes.park("a", kept(5, 6, 7))
    prefixes.drop()
    assert prefixes.reusable(request("a", 5, 6, 7, 8)) == 0
    prefixes.share("g", kept(5, 6))
    prefixes.leave("a")
    assert not prefixes.has_prompt("g")


@given(st.lists(st.integers(0, 2)), st.lists(st.integers(0, 2)))
def test_the_common_prefix_is_common_and_longest(left: list[int], right: list[int]) -> None:
    length = num_common(left, right)
    assert left[:length] == right[:length]
    assert length == min(len(left), len(right)) or left[length] != right[length]
