"""The queue: nothing lost or doubled, order within a client, and no client at the expense of another."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rstar2.sandbox.fair_queue import FairQueue, QueueFull
from rstar2.types import JobKind

TOOL, VERIFICATION = JobKind.TOOL, JobKind.VERIFICATION

pushes = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(JobKind)), max_size=40)


def filled(owners: list[tuple[str, JobKind]]) -> FairQueue[int]:
    """Items are their positions in `owners`."""
    queue: FairQueue[int] = FairQueue(1000)
    for item, (client, kind) in enumerate(owners):
        queue.push(client, kind, item)
    return queue


def emptied(queue: FairQueue[int]) -> list[int]:
    return [queue.pop() for _ in range(len(queue))]


@given(pushes, st.data())
def test_what_is_pushed_is_popped_or_removed_once(owners, data):
    queue = filled(owners)
    removed = data.draw(st.sets(st.sampled_from(range(len(owners))))) if owners else set()
    for item in removed:
        queue.remove(*owners[item], item)
    assert sum(queue.num_waiting(kind) for kind in JobKind) == len(queue) == len(owners) - len(removed)
    assert sorted([*emptied(queue), *removed]) == list(range(len(owners)))
    assert [queue.num_waiting(kind) for kind in JobKind] == [0, 0]


@given(pushes)
def test_items_of_one_client_and_kind_leave_as_they_came(owners):
    popped = emptied(filled(owners))
    for owner in set(owners):
        mine = [item for item in popped if owners[item] == owner]
        assert mine == sorted(mine)


@given(pushes)
def test_nobody_is_served_twice_while_another_waits(owners):
    clients = [owners[item][0] for item in emptied(filled(owners))]
    for position, client in enumerate(clients):
        waiting = set(clients[position:])
        turn = clients[position : position + len(waiting)]
        assert set(turn) == waiting, f"{client} was served too often"


def test_a_herd_delays_another_clients_job_by_one():
    queue = filled([("herd", TOOL)] * 500)
    assert queue.pop() == 0
    queue.push("loner", TOOL, 999)
    assert 999 in (queue.pop(), queue.pop())


def test_verifications_go_first_but_every_fifth_job_is_a_tool_call():
    queue = filled([("a", TOOL)] * 3 + [("a", VERIFICATION)] * 9)
    kinds = ["t" if item < 3 else "v" for item in emptied(queue)]
    assert "".join(kinds) == "vvvvtvvvvtvt"


def test_a_full_queue_refuses_and_takes_again_when_one_has_left():
    queue: FairQueue[int] = FairQueue(4)
    for item, client in enumerate("aaab"):
        queue.push(client, TOOL, item)
    with pytest.raises(QueueFull, match="4 jobs wait already"):
        queue.check_room("c", 1)
    queue.pop()
    queue.check_room("c", 1)
    queue.push("c", TOOL, 4)
    assert len(queue) == 4


def test_one_client_cannot_fill_the_queue():
    queue: FairQueue[int] = FairQueue(8)
    for item in range(6):
        queue.push("greedy", TOOL, item)
    with pytest.raises(QueueFull, match="6 jobs of client 'greedy'"):
        queue.check_room("greedy", 1)
    queue.check_room("modest", 1)
    queue.push("modest", TOOL, 7)
    assert len(queue) == 7


def test_room_is_told_beforehand():
    queue: FairQueue[int] = FairQueue(8)
    queue.check_room("a", 6)
    with pytest.raises(QueueFull):
        queue.check_room("a", 7)


chained = st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from([None, "x", "y"])), max_size=30)


@given(chained, st.integers(0, 2**32))
def test_items_of_a_chain_leave_one_at_a_time_in_order(owners, seed):
    rng = random.Random(seed)
    queue: FairQueue[int] = FairQueue(1000)
    for item, (client, chain) in enumerate(owners):
        queue.push(client, TOOL, item, chain=chain)
    assert len(queue) == len(owners)
    removed = {item for item in range(len(owners)) if rng.random() < 0.2}
    for item in removed:
        queue.remove(owners[item][0], TOOL, item, chain=owners[item][1])
    busy: dict[str, int] = {}
    popped: list[int] = []
    while len(queue):
        if queue.has_next and rng.random() < 0.5:
            popped.append(queue.pop())
            chain = owners[popped[-1]][1]
            assert chain not in busy
            if chain is not None:
                busy[chain] = popped[-1]
        elif busy:
            chain = rng.choice(sorted(busy))
            del busy[chain]
            queue.let_next(chain)
    assert sorted([*popped, *removed]) == list(range(len(owners)))
    for chain in ("x", "y"):
        mine = [item for item in popped if owners[item][1] == chain]
        assert mine == sorted(mine)


def test_what_is_behind_in_a_chain_takes_room_too():
    queue: FairQueue[int] = FairQueue(8)
    for item in range(6):
        queue.push("a", TOOL, item, chain="x")
    with pytest.raises(QueueFull, match="6 jobs of client 'a'"):
        queue.check_room("a", 1)
    assert queue.pop() == 0
    assert not queue.has_next
