"""Orders of the default policy, event by event."""

from dataclasses import replace

from rstar2.rollout.placement.learned import LearnedReservation
from rstar2.rollout.placement.lengths import NUM_BINS
from rstar2.rollout.placement.policy import Ready, Start, Stop
from rstar2.types import EngineLoad

LIMIT = 10 * NUM_BINS


def ready(name, *, group="g", tokens=10):
    return Ready(
        rollout_id=name, group_id=group, prompt_tokens=10, num_tokens=tokens, max_total_tokens=10 + LIMIT
    )


def load(total=100_000, *, used=0, running=0, steps=0):
    return EngineLoad(
        kv_tokens_total=total,
        kv_tokens_reserved=used,
        kv_tokens_used=used,
        num_running=running,
        num_waiting=0,
        num_steps=steps,
        version=0,
    )


def started(orders):
    return {order.rollout_id: order.engine for order in orders if isinstance(order, Start)}


def test_a_block_of_a_group_starts_together_and_the_next_one_elsewhere():
    policy = LearnedReservation(2)
    for n in range(8):
        policy.ready(ready(f"r{n}"))
    engines = started(policy.decide([load(), load()]))
    assert engines == {f"r{n}": n // 4 for n in range(8)}


def test_before_anything_is_known_only_the_worst_case_is_admitted():
    policy = LearnedReservation(1)
    for n in range(5):
        policy.ready(ready(f"r{n}"))
    room = 3 * LIMIT + 90  # for three responses and a prompt, not filled to the brim
    assert len(started(policy.decide([load(room)]))) == 3
    policy.ended("r0", 60, is_complete=True)
    assert started(policy.decide([load(room, used=200, running=2, steps=50)])) == {"r3": 0}


def test_the_next_turn_goes_where_the_prefix_is():
    policy = LearnedReservation(2)
    policy.ready(ready("a"))
    policy.ready(ready("b", group="h"))
    homes = started(policy.decide([load(), load()]))
    assert sorted(homes.values()) == [0, 1]
    policy.turn_ended("a", 50)
    policy.ready(ready("a", tokens=60))
    assert started(policy.decide([load(steps=40), load(steps=40)])) == {"a": homes["a"]}


def test_a_turn_moves_when_the_other_engine_would_be_done_much_sooner():
    policy = LearnedReservation(2)
    for n in range(8):
        policy.ready(ready(f"r{n}"))
    policy.decide([load(), load()])
    for n in range(4, 8):
        policy.ended(f"r{n}", 20, is_complete=True)  # engine 1 is empty now
    policy.turn_ended("r0", 30)
    policy.ready(ready("r0", tokens=40))
    assert started(policy.decide([load(used=150, running=3, steps=30), load(steps=30)])) == {"r0": 1}


def test_an_engine_that_runs_short_is_relieved_of_its_youngest():
    policy = LearnedReservation(1)
    policy.ready(ready("old"))
    policy.decide([load()])
    for name in "abc":
        policy.ready(ready(name, group=name))
    policy.decide([load(used=60, running=1, steps=50)])
    policy.turn_ended("old", 110)
    policy.ready(ready("old", tokens=120))
    orders = policy.decide([load(total=410, used=400, running=4, steps=100)])  # 16 steps of 4 rows: 54 short
    assert [order.rollout_id for order in orders if isinstance(order, Stop)] == ["a"]
    policy.ready(ready("a", group="a", tokens=60))
    assert started(policy.decide([load(total=410, used=350, running=3, steps=101)])) == {}
    policy.ended("old", 130, is_complete=True)
    assert started(policy.decide([load(total=410, used=100, running=1, steps=110)])) == {"a": 0}


def test_room_for_a_few_steps_is_short_where_responses_are_long():
    policy = LearnedReservation(1)
    limit = 192 * 20  # of which a 192nd part is 20 steps
    for name in "ab":
        policy.ready(replace(ready(name, group=name), max_total_tokens=10 + limit))
    policy.decide([load()])
    policy.turn_ended("a", 110)
    policy.ready(replace(ready("a", tokens=120), max_total_tokens=10 + limit))
    assert not any(isinstance(order, Stop) for order in policy.decide([load(total=440, used=400, running=2)]))
    policy.turn_ended("a", 130)
    policy.ready(replace(ready("a", tokens=140), max_total_tokens=10 + limit))
    orders = policy.decide([load(total=439, used=400, running=2)])
    assert [order.rollout_id for order in orders if isinstance(order, Stop)] == ["b"]


def test_what_ran_on_a_lost_engine_goes_before_newcomers():
    policy = LearnedReservation(2)
    for n in range(8):
        policy.ready(ready(f"r{n}"))
    policy.decide([load(), load()])
    policy.engine_lost(0)
    policy.ready(ready("new", group="n"))
    for n in range(4):
        policy.ready(ready(f"r{n}"))
    orders = policy.decide([load(), load(used=100, running=4, steps=10)])
    assert [order.rollout_id for order in orders] == ["r0", "r1", "r2", "r3", "new"]
    assert set(started(orders).values()) == {1}


def test_a_rollout_that_is_given_up_teaches_nothing():
    policy = LearnedReservation(1)
    policy.ready(ready("a"))
    policy.decide([load(total=LIMIT + 50)])
    policy.ended("a", 30, is_complete=False)
    policy.ready(ready("b"))
    policy.ready(ready("c"))
    assert len(started(policy.decide([load(total=LIMIT + 50)]))) == 1  # still the worst case
