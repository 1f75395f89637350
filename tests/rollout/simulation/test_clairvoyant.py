"""The reference that knows all lengths."""

from rstar2.rollout.placement.catalog import POLICY_NAMES
from rstar2.rollout.placement.policy import Ready
from rstar2.rollout.simulation.clairvoyant import Clairvoyant
from rstar2.rollout.simulation.cluster import Cluster, rollout_ids
from rstar2.rollout.simulation.engine import SimulatedEngine
from rstar2.rollout.simulation.step_times import StepTimes
from rstar2.rollout.workload import Workload, draw_step
from rstar2.types import EngineLoad

TIMES = StepTimes(overhead_s=0.1, weights_s=1.0, kv_s=0.00005, token_s=0.001)
WORKLOAD = Workload(
    name="small",
    mean_response_tokens=400,
    max_response_tokens=1000,
    clip_share=0.1,
    num_problems=32,
    rollouts_per_problem=16,
)


def ready(name, group="g"):
    return Ready(rollout_id=name, group_id=group, prompt_tokens=6, num_tokens=6, max_total_tokens=1006)


def load(total, *, steps=0):
    return EngineLoad(
        kv_tokens_total=total,
        kv_tokens_reserved=0,
        kv_tokens_used=0,
        num_running=0,
        num_waiting=0,
        num_steps=steps,
        version=0,
    )


def test_the_longest_goes_first_and_a_short_one_where_the_next_long_one_finds_no_room():
    lengths = {"short": 64, "long": 640, "longest": 960}
    policy = Clairvoyant(1, lengths)
    for name in lengths:
        policy.ready(ready(name))
    room = [load(1100)]  # both long ones together would need 2 * 640 tokens when the shorter of them ends
    assert [order.rollout_id for order in policy.decide(room)] == ["longest", "short"]
    policy.ended("short", 70, is_complete=True)
    assert policy.decide([load(1100, steps=64)]) == []
    policy.ended("longest", 966, is_complete=True)
    assert [order.rollout_id for order in policy.decide([load(1100, steps=960)])] == ["long"]


def test_each_engine_gets_an_equal_part_of_the_reads():
    lengths = {f"r{n}": 500 for n in range(8)}
    policy = Clairvoyant(2, lengths)
    for n, name in enumerate(lengths):
        policy.ready(ready(name, group=f"g{n}"))
    engines = [order.engine for order in policy.decide([load(100_000)] * 2)]
    assert (engines.count(0), engines.count(1)) == (4, 4)


def test_it_plays_a_step_to_its_end_without_evictions():
    traces = draw_step(WORKLOAD, seed=1)
    lengths = [trace.response_tokens for trace in traces]
    engines = [SimulatedEngine(TIMES, kv_tokens=30_000) for _ in range(4)]
    policy = Clairvoyant(4, dict(zip(rollout_ids(traces), lengths, strict=True)))
    outcome = Cluster(engines, policy).run(traces)
    assert len(outcome.finished_s) == len(traces)
    assert outcome.evicted_tokens == 0


def test_no_config_can_choose_it():
    assert "clairvoyant" not in POLICY_NAMES
