"""What every policy promises, played on a small cluster in virtual time."""

import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rstar2.rollout.placement.catalog import DEFAULT_POLICY, POLICY_NAMES, make_policy
from rstar2.rollout.placement.policy import Ready, Start
from rstar2.rollout.simulation.cluster import Cluster
from rstar2.rollout.simulation.engine import SimulatedEngine
from rstar2.rollout.simulation.scenario import learned_lengths
from rstar2.rollout.simulation.step_times import StepTimes
from rstar2.rollout.workload import RolloutTrace, TurnTrace, Workload, draw_step
from rstar2.types import EngineLoad

TIMES = StepTimes(overhead_s=0.1, weights_s=1.0, kv_s=0.00005, token_s=0.001)
LIMIT = 120


class Recorded:
    """A policy, with the orders it gave and the most KV tokens that its reservations came to per engine."""

    def __init__(self, policy):
        self.policy = policy
        self.starts = []
        self.reserved = {}
        self.most_reserved = 0

    def __getattr__(self, name):
        return getattr(self.policy, name)

    def ended(self, rollout_id, num_tokens, *, is_complete):
        self.reserved.pop(rollout_id, None)
        self.policy.ended(rollout_id, num_tokens, is_complete=is_complete)

    def decide(self, loads):
        orders = self.policy.decide(loads)
        for order in orders:
            if isinstance(order, Start):
                self.starts.append(order)
                self.reserved[order.rollout_id] = (order.engine, order.reserved_tokens or 0)
        for engine in range(len(loads)):
            tokens = sum(tokens for its, tokens in self.reserved.values() if its == engine)
            self.most_reserved = max(self.most_reserved, tokens)
        return orders


TURNS = st.lists(st.tuples(st.integers(1, 30), st.floats(0, 20), st.integers(1, 5)), min_size=1, max_size=3)


def trace(position, turns):
    *calls, last = turns
    return RolloutTrace(
        problem_id=f"p{position // 4}",
        index=position % 4,
        prompt_tokens=6,
        max_response_tokens=LIMIT,
        turns=(
            *(TurnTrace(new_tokens=n, tool_s=s, tool_response_tokens=r) for n, s, r in calls),
            TurnTrace(new_tokens=last[0]),
        ),
    )


def engines(number, kv_tokens, chunk=16):
    return [SimulatedEngine(TIMES, kv_tokens=kv_tokens, prefill_chunk_tokens=chunk) for _ in range(number)]


@pytest.mark.parametrize("name", POLICY_NAMES)
@settings(max_examples=15, deadline=None)
@given(
    turns=st.lists(TURNS, min_size=1, max_size=20),
    losses=st.lists(
        st.tuples(st.floats(0, 80), st.integers(0, 2)), max_size=2, unique_by=lambda loss: loss[1]
    ),
)
def test_every_rollout_ends_once_also_when_engines_die(name, turns, losses):
    traces = [trace(i, t) for i, t in enumerate(turns)]
    outcome = Cluster(engines(3, 200), make_policy(name, 3)).run(traces, losses=losses)
    assert len(outcome.finished_s) == len(traces)


@settings(max_examples=15, deadline=None)
@given(turns=st.lists(TURNS, min_size=1, max_size=20))
def test_the_worst_case_is_never_exceeded_and_never_evicted(turns):
    policy = Recorded(make_policy("worst_case_reservation", 2))
    outcome = Cluster(engines(2, 300), policy).run([trace(i, t) for i, t in enumerate(turns)])
    assert policy.most_reserved <= 300
    assert outcome.evicted_tokens == 0


@pytest.mark.parametrize("name", ["round_robin_sticky", "least_inflight_sticky", "worst_case_reservation"])
def test_a_sticky_rollout_never_moves(name):
    traces = [trace(i, [(5, 1.0, 2), (7, 1.0, 3), (4, 0.0, 0)]) for i in range(24)]
    assert Cluster(engines(3, 2000), make_policy(name, 3)).run(traces).num_moves == 0


def test_a_shared_queue_loses_prefixes():
    traces = [trace(i, [(5, 1.0 + i, 2), (7, 1.0, 3), (4, 0.0, 0)]) for i in range(7)]
    outcome = Cluster(engines(3, 2000), make_policy("greedy_queue", 3)).run(traces)
    assert outcome.num_moves > 0
    assert outcome.recomputed_tokens > 0


def test_static_waits_for_the_slowest_of_its_part():
    slow = [trace(0, [(5, 50.0, 2), (5, 0.0, 0)]), trace(1, [(5, 1.0, 2), (5, 0.0, 0)])]
    policy = Recorded(make_policy("static", 1))
    outcome = Cluster(engines(1, 2000), policy).run(slow)
    assert outcome.finished_s[0] > 50.0  # also the one whose tool was quick


def test_static_gives_each_engine_an_equal_contiguous_part():
    policy = make_policy("static", 2)
    for position in range(6):
        policy.ready(ready(f"r{position}"))
    orders = policy.decide([load(1000)] * 2)
    assert [(order.rollout_id, order.engine) for order in orders] == [
        (f"r{position}", position // 3) for position in range(6)
    ]


@pytest.mark.parametrize("name", POLICY_NAMES)
def test_an_engine_that_is_back_gets_its_share_again(name):
    policy = make_policy(name, 2)
    policy.engine_lost(0)
    for rollout_id in "ab":
        policy.ready(ready(rollout_id))
    assert {order.engine for order in policy.decide([load(1000)] * 2)} == {1}
    for rollout_id in "ab":
        policy.ended(rollout_id, 20, is_complete=True)
    policy.engine_returned(0)
    for group in range(4):
        for index in range(4):
            policy.ready(ready(f"{group}/{index}", group=f"g{group}"))
    assert {order.engine for order in policy.decide([load(4000)] * 2)} == {0, 1}


def test_first_turns_rotate_and_the_least_loaded_is_counted_in_flight():
    rotating, counting = make_policy("round_robin_sticky", 2), make_policy("least_inflight_sticky", 2)
    for policy in (rotating, counting):
        for name in "abc":
            policy.ready(ready(name))
        assert [order.engine for order in policy.decide([load(1000)] * 2)] == [0, 1, 0]
        policy.turn_ended("a", 20)
        policy.turn_ended("c", 20)
        policy.ready(ready("d"))
    assert [order.engine for order in rotating.decide([load(1000)] * 2)] == [1]
    assert [order.engine for order in counting.decide([load(1000)] * 2)] == [0]


def ready(name, group="g", tokens=6):
    return Ready(
        rollout_id=name, group_id=group, prompt_tokens=6, num_tokens=tokens, max_total_tokens=6 + LIMIT
    )


def load(total, used=0, running=0, steps=0):
    return EngineLoad(
        kv_tokens_total=total,
        kv_tokens_reserved=used,
        kv_tokens_used=used,
        num_running=running,
        num_waiting=0,
        num_steps=steps,
        version=0,
    )


SMALL = Workload(
    name="small",
    mean_response_tokens=400,
    max_response_tokens=1000,
    clip_share=0.1,
    num_problems=32,
    rollouts_per_problem=16,
)


def test_where_lengths_are_as_learned_nothing_is_evicted_and_more_runs_than_in_the_worst_case():
    traces = draw_step(SMALL, seed=2)
    learned = make_policy(DEFAULT_POLICY, 4, lengths=learned_lengths(draw_step(SMALL, seed=1)))
    outcome = Cluster(engines(4, 30_000, 512), learned).run(traces)
    paper = Cluster(engines(4, 30_000, 512), make_policy("worst_case_reservation", 4)).run(traces)
    assert outcome.evicted_tokens == 0
    assert outcome.makespan_s < 0.9 * paper.makespan_s


def test_wrong_estimates_cost_stops_of_the_youngest_but_no_rollout():
    longer = Workload(
        name="longer",
        mean_response_tokens=850,
        max_response_tokens=1000,
        clip_share=0.6,
        num_problems=16,
        rollouts_per_problem=16,
    )
    short = learned_lengths(draw_step(SMALL, seed=1))
    outcome = Cluster(engines(2, 20_000, 512), make_policy(DEFAULT_POLICY, 2, lengths=short)).run(
        draw_step(longer, seed=2)
    )
    assert len(outcome.finished_s) == longer.num_rollouts
    assert 0 < outcome.num_stops < longer.num_rollouts  # nobody is placed only to be stopped again


@pytest.mark.parametrize("name", [name for name in POLICY_NAMES if name != DEFAULT_POLICY])
def test_a_policy_that_does_not_learn_remembers_nothing_of_what_ended(name):
    def play(num_rollouts):
        for number in range(num_rollouts):
            policy.ready(ready(f"r{number % 10}"))
            policy.decide([load(1000), load(1000)])
            policy.ended(f"r{number % 10}", 20, is_complete=True)
        return len(pickle.dumps(policy))

    policy = make_policy(name, 2)
    soon = play(20)
    assert play(500) <= soon + 10, "a counter of its own may have grown by a digit"
