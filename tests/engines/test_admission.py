"""Queues, growth and pauses."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rstar2.engines.admission import Admission
from rstar2.errors import CapacityError, EngineError
from rstar2.types import GenerationRequest


def request(
    rollout_id: str,
    *,
    tokens: int = 1,
    new: int = 2,
    total: int = 20,
    group_id: str = "",
    prompt_length: int = 0,
    is_reserved: bool = True,
) -> GenerationRequest:
    return GenerationRequest(
        rollout_id=rollout_id, group_id=group_id or rollout_id, token_ids=(5,) * tokens,
        prompt_length=prompt_length, max_new_tokens=new, max_total_tokens=total, temperature=1.0, top_p=1.0,
        seed=0, is_reserved=is_reserved,
    )  # fmt: skip


def admitted(admission: Admission, num_free_rows: int = 99) -> list[str]:
    return [request.rollout_id for request in admission.admit(num_free_rows)]


def step(admission: Admission, *rollout_ids: str) -> list[str]:
    """One token more for each of these, after room was made; who paused."""
    paused = admission.make_room()
    for rollout_id in rollout_ids:
        if rollout_id not in paused:
            admission.grow(rollout_id)
    admission.end_step()
    return paused


def test_reserved_turns_start_while_their_tokens_and_one_step_of_all_fit() -> None:
    admission = Admission(20)
    for rollout_id, tokens in (("a", 8), ("b", 9), ("c", 1), ("d", 1)):
        admission.submit(request(rollout_id, tokens=tokens))
    assert admitted(admission) == ["a", "b"]  # 8 + 9 + 1, and a token for each of three, exceed 20
    assert (admission.room.used_tokens, admission.num_running, admission.num_waiting) == (17, 2, 2)
    admission.release("a")
    assert admitted(admission) == ["c", "d"]


def test_of_others_all_that_they_may_write_must_fit_beside_the_guess_of_who_runs() -> None:
    """a: 2 tokens, 10 to come, of which 0.7 are promised, so b needs 2 + 10 + 7 of the 18 that are free."""
    for kv_tokens, expected in ((20, ["a"]), (21, ["a", "b"])):
        admission = Admission(kv_tokens)
        for rollout_id in "ab":
            admission.submit(request(rollout_id, tokens=2, new=10, is_reserved=False))
        assert admitted(admission) == expected


def test_the_guess_falls_while_nobody_pauses() -> None:
    admission = Admission(200)
    admission.submit(request("a", tokens=1, new=100, total=200, is_reserved=False))
    admission.submit(request("b", tokens=1, new=100, total=200, is_reserved=False))
    assert admitted(admission) == ["a", "b"]
    admission.submit(request("c", tokens=1, new=60, total=200, is_reserved=False))
    assert admitted(admission) == []  # 1 + 60 + 2 * 0.7 * 100 > 198
    for _ in range(200):
        admission.end_step()  # 0.7 - 200 * 0.602 / 600 = 0.4993
    assert admitted(admission) == ["c"]


def test_a_small_newcomer_does_not_overtake_a_large_one() -> None:
    admission = Admission(25)
    for rollout_id, tokens in (("first", 15), ("large", 10), ("small", 1)):
        admission.submit(request(rollout_id, tokens=tokens))
    assert admitted(admission) == ["first"]


def test_rows_bound_the_queue() -> None:
    admission = Admission(100)
    for rollout_id in "abc":
        admission.submit(request(rollout_id))
    assert admitted(admission, 2) == ["a", "b"]
    assert admitted(admission, 0) == []


def test_a_prompt_takes_room_once_and_its_last_token_in_every_rollout() -> None:
    admission = Admission(100)
    for rollout_id in "ab":
        admission.submit(request(rollout_id, tokens=10, group_id="g", prompt_length=10))
    assert admitted(admission) == ["a", "b"]
    assert admission.room.used_tokens == 9 + 1 + 1
    admission.release("a")
    assert admission.room.used_tokens == 10
    admission.release("b")
    assert admission.room.used_tokens == 0


def test_held_prefixes_go_before_any_turn_pauses_and_the_longest_held_goes_first() -> None:
    dropped: list[str] = []
    admission = Admission(12, on_drop=dropped.append)
    for rollout_id in "abc":
        admission.submit(request(rollout_id, tokens=3, new=9, total=12))
    assert admitted(admission) == ["a", "b", "c"]
    admission.hold("b")
    admission.hold("a")
    paused = [step(admission, "c") for _ in range(7)]
    assert paused == [[]] * 7
    assert dropped == ["b", "a"]
    assert (admission.evicted_tokens, admission.room.used_tokens) == (6, 10)
    admission.release("c")
    admission.submit(request("a", tokens=4, total=12))
    assert admitted(admission) == ["a"]
    assert admission.recomputed_tokens == 3


def test_a_returning_turn_needs_room_only_for_what_is_new() -> None:
    admission = Admission(12)
    admission.submit(request("a", tokens=8, total=12))
    admitted(admission)
    step(admission, "a")
    admission.hold("a")
    admission.submit(request("a", tokens=11, new=1, total=12))
    assert admitted(admission) == ["a"]
    assert (admission.room.used_tokens, admission.evicted_tokens) == (11, 0)


def test_the_youngest_pause_no_more_than_needed_and_go_on_from_their_tokens() -> None:
    admission = Admission(26)
    for rollout_id, tokens in (("old", 9), ("young", 4), ("middle", 6)):
        admission.submit(request(rollout_id, tokens=tokens, new=9))
    assert admitted(admission) == ["old", "young", "middle"]
    running = ["old", "young", "middle"]
    assert [step(admission, *running) for _ in range(2)] == [[], []]
    assert step(admission, *running) == ["young"]  # 25 of 26 are taken, three want one more
    assert admission.num_pauses == 1
    assert admission.evicted_tokens == 6
    assert admitted(admission) == []
    admission.release("old")
    assert admitted(admission) == ["young"]
    assert admission.room.own_tokens("young") == 6
    assert admission.recomputed_tokens == 6


def in_rows_of_the_longest(num_rows: int, longest: int) -> bool:
    return num_rows == 1 or num_rows * longest <= 20


def test_a_long_turn_lets_as_many_beside_it_as_rows_of_its_length_are_held() -> None:
    """Of rows of 8 two are held, of 11 one: a token more of `long` each step, and b, as young as c, goes."""
    admission = Admission(100, holds=in_rows_of_the_longest)
    for rollout_id, tokens in (("long", 5), ("b", 3), ("c", 2), ("d", 1), ("e", 1)):
        admission.submit(request(rollout_id, tokens=tokens, new=15))
    assert admitted(admission) == ["long", "b", "c", "d"]  # 5 * 5 > 20
    assert step(admission, "long") == []
    assert step(admission, "long") == ["d"]  # 4 * 6 > 20
    assert step(admission, "long") == ["c"]  # 3 * 7 > 20
    assert [step(admission, "long") for _ in range(3)] == [[], [], []]
    assert step(admission, "long") == ["b"]  # 2 * 11 > 20
    assert admitted(admission) == []
    admission.hold("long")
    assert admitted(admission) == ["e", "d", "c", "b"]


def test_prompts_lie_in_rows_of_the_longest_and_held_ones_go_first() -> None:
    admission = Admission(100, holds=in_rows_of_the_longest)
    for rollout_id, tokens in (("a", 9), ("b", 3), ("c", 12)):
        admission.submit(request(rollout_id, tokens=tokens, prompt_length=tokens))
    assert admitted(admission) == ["a", "b"]  # a third prompt, 11 tokens but for its last, makes 3 * 11
    admission.hold("a")
    assert admitted(admission) == []  # 2 * 11
    admission.hold("b")
    assert admitted(admission) == ["c"]
    assert admission.room.used_tokens == 12


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_total_tokens": 26}, "KV budget"),
        ({"max_total_tokens": 2}, "lower max_new_tokens"),
    ],
)
def test_what_can_never_fit_is_refused_at_once(changes: dict[str, int], message: str) -> None:
    with pytest.raises(CapacityError, match=message):
        Admission(25).submit(replace(request("a"), **changes))


def test_a_rollout_waits_once() -> None:
    admission = Admission(25)
    admission.submit(request("a"))
    with pytest.raises(EngineError, match="one turn at a time"):
        admission.submit(request("a"))


@settings(max_examples=60)
@given(
    kv_tokens=st.integers(32, 90),
    rollouts=st.lists(
        st.tuples(st.integers(0, 2), st.integers(1, 3), st.integers(1, 9), st.booleans()),
        min_size=1,
        max_size=9,
    ),
    num_free_rows=st.integers(1, 5),
)
def test_the_budget_holds_at_every_step_and_every_turn_ends_whatever_was_hoped(
    kv_tokens: int, rollouts: list[tuple[int, int, int, bool]], num_free_rows: int
) -> None:
    """Rollouts of three groups with prompts of five tokens; each turn writes all that it may."""
    admission = Admission(kv_tokens)
    tokens = dict.fromkeys(map(str, range(len(rollouts))), 5)
    turns_left = {str(i): turns for i, (_, turns, _, _) in enumerate(rollouts)}
    running: dict[str, int] = {}
    written = dict.fromkeys(tokens, 0)

    def submit(rollout_id: str) -> None:
        group, _, new, is_reserved = rollouts[int(rollout_id)]
        admission.submit(
            request(
                rollout_id, tokens=tokens[rollout_id], new=new, total=32, group_id=f"g{group}",
                prompt_length=5, is_reserved=is_reserved,
            )
        )  # fmt: skip
        written[rollout_id] = 0

    for rollout_id in tokens:
        submit(rollout_id)
    num_steps = 0
    while any(turns_left.values()):
        num_steps += 1
        assert num_steps < 10_000, "somebody starves"
        running |= dict.fromkeys(admitted(admission, num_free_rows - len(running)), 0)
        paused = admission.make_room()
        assert len(paused) <= (len(running) + 2) // 3, "more paused than had to"
        for rollout_id in paused:
            del running[rollout_id]
        assert running, "nobody runs although somebody waits"
        for rollout_id in list(running):
            admission.grow(rollout_id)
            written[rollout_id] += 1
            assert admission.room.used_tokens <= kv_tokens
            if written[rollout_id] == rollouts[int(rollout_id)][2]:
                del running[rollout_id]
                admission.hold(rollout_id)
                tokens[rollout_id] += written[rollout_id]
                turns_left[rollout_id] -= 1
                if turns_left[rollout_id]:
                    submit(rollout_id)
                else:
                    admission.release(rollout_id)
        admission.end_step()
    assert (admission.room.used_tokens, admission.num_waiting, admission.num_running) == (0, 0, 0)
    assert admission.recomputed_tokens <= admission.evicted_tokens
