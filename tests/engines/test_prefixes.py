"""What is kept between turns."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from rstar2.engines.prefixes import Kept, Prefixes, Prompt, num_common
from rstar2.types import GenerationRequest


def request(rollout_id: str, *token_ids: int, prompt_length: int = 3) -> GenerationRequest:
    return GenerationRequest(
        rollout_id=rollout_id, group_id="g", token_ids=token_ids, prompt_length=prompt_length,
        max_new_tokens=2, max_total_tokens=20, temperature=1.0, top_p=1.0, seed=0,
    )  # fmt: skip


def kept(prompt: Prompt, *token_ids: int) -> Kept:
    return Kept(prompt=prompt, token_ids=token_ids, tensors=((torch.zeros(1), torch.zeros(1)),))


def test_rollouts_with_the_same_prompt_share_it_up_to_its_last_token() -> None:
    prefixes = Prefixes()
    prompt = prefixes.join(request("a", 5, 6, 7))
    assert prompt.token_ids == (5, 6)
    assert prefixes.join(request("b", 5, 6, 8)) is prompt
    assert prefixes.join(request("c", 5, 9, 8)) is not prompt
    assert prefixes.join(request("d", 5, prompt_length=1)).token_ids == ()


def test_what_is_common_with_the_kept_turn_is_reused_but_for_one_token() -> None:
    prefixes = Prefixes()
    prompt = prefixes.join(request("a", 5, 6, 7))
    prefixes.park("a", kept(prompt, 7, 8, 9))
    assert prefixes.reusable(request("a", 5, 6, 7, 8, 4, 4), prompt) == 2
    assert prefixes.reusable(request("a", 5, 6, 7, 8, 9, 4), prompt) == 3
    assert prefixes.reusable(request("a", 5, 6, 7, 8, 9), prompt) == 2
    assert prefixes.reusable(request("a", 5, 6, 7), prompt) == 0
    prefixes.take("a")
    assert prefixes.reusable(request("a", 5, 6, 7, 8, 9, 4), prompt) == 0


def test_a_turn_kept_after_another_prompt_is_of_no_use() -> None:
    prefixes = Prefixes()
    prompt = prefixes.join(request("a", 5, 6, 7))
    prefixes.park("a", kept(prompt, 7, 8))
    longer = request("a", 5, 6, 7, 8, 9, prompt_length=4)
    assert prefixes.reusable(longer, prefixes.join(longer)) == 0
    assert prefixes.remove_idle_prompts() == [prompt]


def test_a_prompt_is_kept_until_the_last_member_leaves() -> None:
    prefixes = Prefixes()
    prompt = prefixes.join(request("a", 5, 6, 7))
    prefixes.join(request("b", 5, 6, 7))
    prefixes.leave("a")
    prefixes.leave("a")
    prefixes.leave("unknown")
    assert prefixes.remove_idle_prompts() == []
    prefixes.leave("b")
    assert prefixes.remove_idle_prompts() == [prompt]
    assert prefixes.join(request("c", 5, 6, 7)) is not prompt


def test_dropping_forgets_keys_and_values_but_not_members() -> None:
    prefixes = Prefixes()
    prompt = prefixes.join(request("a", 5, 6, 7))
    prompt.slot = 0
    prefixes.park("a", kept(prompt, 7, 8))
    prefixes.drop()
    assert prompt.slot is None
    assert prefixes.reusable(request("a", 5, 6, 7, 8, 9), prompt) == 0
    assert prefixes.remove_idle_prompts() == []


@given(st.lists(st.integers(0, 2)), st.lists(st.integers(0, 2)))
def test_the_common_prefix_is_common_and_longest(left: list[int], right: list[int]) -> None:
    length = num_common(left, right)
    assert left[:length] == right[:length]
    assert length == min(len(left), len(right)) or left[length] != right[length]
