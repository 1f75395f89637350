"""Reservations and queues."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rstar2.engines.admission import Admission
from rstar2.errors import CapacityError, EngineError
from rstar2.types import GenerationRequest


def request(rollout_id: str, max_total_tokens: int = 10) -> GenerationRequest:
    return GenerationRequest(
        rollout_id=rollout_id, group_id="g", token_ids=(5,), prompt_length=1, max_new_tokens=2,
        max_total_tokens=max_total_tokens, temperature=1.0, top_p=1.0, seed=0,
    )  # fmt: skip


def admitted(admission: Admission, num_free_rows: int = 99) -> list[str]:
    return [request.rollout_id for request in admission.admit(num_free_rows)]


def test_newcomers_are_admitted_in_order_while_their_worst_case_fits() -> None:
    admission = Admission(25)
    for rollout_id in "abc":
        admission.submit(request(rollout_id))
    assert admitted(admission) == ["a", "b"]
    assert (admission.kv_tokens_reserved, admission.num_waiting) == (20, 1)
    assert not admission.has_admissible()
    admission.release("a")
    assert admission.has_admissible()
    assert admitted(admission) == ["c"]


def test_a_small_newcomer_does_not_overtake_a_large_one() -> None:
    admission = Admission(25)
    admission.submit(request("held", 20))
    assert admitted(admission) == ["held"]
    admission.submit(request("large", 11))
    admission.submit(request("small", 3))
    assert admitted(admission) == []


def test_a_rollout_that_holds_its_reservation_passes_those_who_wait_for_room() -> None:
    admission = Admission(10)
    admission.submit(request("a"))
    assert admitted(admission) == ["a"]
    admission.submit(request("b"))
    admission.submit(request("a"))
    assert admitted(admission) == ["a"]
    assert admission.kv_tokens_reserved == 10


def test_rows_bound_both_queues() -> None:
    admission = Admission(100)
    for rollout_id in "abc":
        admission.submit(request(rollout_id))
    assert admitted(admission, 2) == ["a", "b"]
    assert admitted(admission, 0) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_total_tokens": 26}, "KV budget"),
        ({"max_total_tokens": 2}, "lower max_new_tokens"),
    ],
)
def test_what_can_never_fit_is_refused_at_once(changes: dict[str, int], message: str) -> None:
    with pytest.raises(CapacityError, match=message):
        Admission(25).submit(request("a", **changes))


def test_a_reservation_does_not_grow_between_turns() -> None:
    admission = Admission(25)
    admission.submit(request("a", 10))
    admission.admit(1)
    with pytest.raises(CapacityError, match="must not grow"):
        admission.submit(request("a", 11))


def test_a_rollout_waits_once() -> None:
    admission = Admission(25)
    admission.submit(request("a"))
    with pytest.raises(EngineError, match="one turn at a time"):
        admission.submit(request("a"))


@given(
    st.lists(
        st.tuples(st.sampled_from(["submit", "admit", "release"]), st.integers(0, 5), st.integers(3, 30)),
        max_size=60,
    )
)
def test_the_budget_is_never_over_committed_and_everyone_is_admitted_once_room_returns(
    actions: list[tuple[str, int, int]],
) -> None:
    admission = Admission(30)
    sizes = {i: 3 + 5 * i for i in range(6)}
    waiting: set[str] = set()
    for action, index, number in actions:
        rollout_id = str(index)
        if action == "submit" and rollout_id not in waiting:
            admission.submit(request(rollout_id, sizes[index]))
            waiting.add(rollout_id)
        elif action == "admit":
            waiting -= set(admitted(admission, number % 4))
        elif action == "release":
            admission.release(rollout_id)
            waiting.discard(rollout_id)
        assert 0 <= admission.kv_tokens_reserved <= admission.kv_tokens_total
        assert admission.num_waiting == len(waiting)
    for index in range(6):
        if str(index) not in waiting:
            admission.release(str(index))
    while waiting:
        started = admitted(admission)
        assert started, "a rollout waits although nobody holds room"
        waiting -= set(started)
        for rollout_id in started:
            admission.release(rollout_id)
    assert admission.kv_tokens_reserved == 0
