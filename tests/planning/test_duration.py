"""Times by hand, and the share of one engine against the whole cluster."""

from dataclasses import replace
from statistics import fmean

import pytest

from rstar2.planning.duration import (
    EngineGroup,
    LearnerGroup,
    StepDuration,
    engines_s,
    learned_tokens,
    learner_s,
    publish_s,
    sandbox_s,
    supervised_s,
)
from rstar2.planning.memory import LearnerShape
from rstar2.profiles import ModelShape, accelerator
from rstar2.rollout.placement.worst_case import WorstCaseReservation
from rstar2.rollout.simulation.cluster import Cluster
from rstar2.rollout.simulation.engine import SimulatedEngine
from rstar2.rollout.simulation.step_times import StepTimes
from rstar2.rollout.workload import Workload, draw_step

MODEL = ModelShape(
    name="small",
    num_layers=2,
    hidden_size=5,
    num_heads=3,
    num_kv_heads=1,
    head_dim=2,
    intermediate_size=7,
    vocab_size=11,
    tied_embeddings=True,
)
DEVICE = replace(
    accelerator("h100"),
    peak_flops_per_s=1e6,
    training_share=0.5,
    link_bytes_per_s=1e5,
    host_link_bytes_per_s=1e4,
)
SHAPE = LearnerShape(
    model=MODEL,
    num_shards=1,
    master_bytes=4,
    compute_bytes=2,
    micro_batch_tokens=100,
    logprob_chunk_tokens=10,
    checkpoint_activations=False,
    offload_optimizer=False,
)
LEARNER = LearnerGroup(shape=SHAPE, accelerator=DEVICE, network_bytes_per_s=1e3)
TIMES = StepTimes(overhead_s=2e-3, weights_s=5e-3, kv_s=2e-8, token_s=2e-5)
WORKLOAD = Workload(
    name="w",
    mean_response_tokens=600,
    max_response_tokens=1500,
    clip_share=0.1,
    num_problems=32,
    rollouts_per_problem=16,
    problem_share=0.0,
)


def test_a_learner_step_is_three_forwards_over_what_training_reaches():
    forward = MODEL.forward_flops(1000, 30)
    assert learner_s(LEARNER, num_tokens=1000, context_tokens=30) == pytest.approx(3 * forward / 0.5e6)


def test_checkpointing_costs_a_fourth_forward():
    checkpointed = replace(LEARNER, shape=replace(SHAPE, checkpoint_activations=True))
    one, other = (learner_s(group, num_tokens=1000, context_tokens=30) for group in (LEARNER, checkpointed))
    assert other / one == pytest.approx(4 / 3)


def test_adapters_save_the_third_forward_and_nearly_all_gradients_that_are_exchanged():
    adapted = replace(SHAPE, num_adapter_parameters=10)
    forward = MODEL.forward_flops(1000, 30)
    one = learner_s(replace(LEARNER, shape=adapted), num_tokens=1000, context_tokens=30)
    assert one == pytest.approx(2 * forward / 0.5e6)
    sharded = replace(LEARNER, shape=replace(adapted, num_shards=16, offload_optimizer=True))
    exchange_s = 2 * (2 * MODEL.num_parameters + 3 * 10) / 1e3
    offload_s = 2 * 2 * 10 / 16 / 1e4
    assert learner_s(sharded, num_tokens=1600, context_tokens=0) == pytest.approx(exchange_s + offload_s)


def test_small_micro_batches_wait_for_the_network():
    """16 shards of 1600 tokens: one micro-batch of 100 each, which moves 3 * 2 bytes per parameter."""
    sharded = replace(LEARNER, shape=replace(SHAPE, num_shards=16))
    expected = 6 * MODEL.num_parameters / 1e3
    assert learner_s(sharded, num_tokens=1600, context_tokens=0) == pytest.approx(expected)


def test_four_updates_gather_the_weights_once_more_for_three_quarters_of_the_tokens_and_offload_four_times():
    sharded = replace(LEARNER, shape=replace(SHAPE, num_shards=16, offload_optimizer=True))
    expected = (3 + 3 / 4) * 2 * MODEL.num_parameters / 1e3 + 4 * 4 * MODEL.num_parameters / 16 / 1e4
    seconds = learner_s(sharded, num_tokens=1600, context_tokens=0, num_updates=4)
    assert seconds == pytest.approx(expected)


def test_within_a_node_the_links_are_used():
    sharded = replace(LEARNER, shape=replace(SHAPE, num_shards=8))
    assert sharded.exchange_bytes_per_s == 1e5


def test_offloading_moves_gradients_out_and_weights_in():
    offloaded = replace(LEARNER, shape=replace(SHAPE, offload_optimizer=True))
    one, other = (learner_s(group, num_tokens=1000, context_tokens=30) for group in (LEARNER, offloaded))
    assert other - one == pytest.approx(4 * MODEL.num_parameters / 1e4)


def test_supervised_samples_attend_to_half_of_themselves():
    expected = learner_s(LEARNER, num_tokens=64 * 50, context_tokens=25)
    assert supervised_s(LEARNER, num_samples=64, sample_tokens=50) == expected


def test_the_sandbox_works_off_calls_and_rewards():
    # 512 rollouts, 2.75 calls of 0.3 s and a reward of 0.05 s each, over 64 workers
    assert sandbox_s(WORKLOAD, num_workers=64, grading_s=0.05) == pytest.approx(512 * 0.875 / 64)


def test_publishing_sends_every_device_all_weights():
    seconds = publish_s(MODEL, bytes_per_value=4, bytes_per_s=1e3)
    assert seconds == pytest.approx(4 * MODEL.num_parameters / 1e3)


def test_the_learner_sees_the_prompt_once_per_group_and_long_responses_more_often():
    num_tokens, context = learned_tokens(WORKLOAD, group_size=8, kept_share=0.5)
    assert num_tokens == pytest.approx(16 * (450 + 8 * 600), rel=0.05)
    assert context > 1.1 * (450 + 600 / 2)


STEP = StepDuration(
    engines_s=5, tail_s=1, sandbox_s=3, learner_s=2, publish_s=0.5, on_one_host=False, is_overlapped=False
)


def test_rollouts_wait_for_the_slower_of_engines_and_sandbox_or_on_one_host_for_both():
    assert STEP.step_s == 7.5
    assert replace(STEP, on_one_host=True).step_s == 10.5
    assert STEP.longest_part == ("engines", 5)
    assert replace(STEP, sandbox_s=9).longest_part == ("sandbox", 9)


def test_with_an_overlap_the_slower_of_rollouts_and_learner_is_waited_for():
    step = replace(STEP, is_overlapped=True)
    assert (step.step_s, replace(step, learner_s=6).step_s) == (5.5, 6.5)


def group_of(num_engines: int) -> EngineGroup:
    return EngineGroup(
        times=TIMES, num_engines=num_engines, engines_per_device=1, kv_tokens=60_000, max_running=64
    )


@pytest.mark.parametrize("num_engines", [1, 4])
def test_the_share_of_one_engine_stands_for_the_whole_cluster(num_engines):
    def whole_s(seed: int) -> float:
        engines = [SimulatedEngine(TIMES, kv_tokens=60_000, max_rows=64) for _ in range(num_engines)]
        traces = draw_step(WORKLOAD, seed=seed)
        return Cluster(engines, WorstCaseReservation(num_engines)).run(traces).makespan_s

    share_s, _ = engines_s(WORKLOAD, group_of(num_engines))
    assert share_s == pytest.approx(fmean(map(whole_s, range(4))), rel=0.1)


@pytest.mark.parametrize(("kv_tokens", "max_running"), [(60_000, 64), (1_000_000, 160)])
def test_a_large_share_is_continued_from_a_sample(kv_tokens, max_running):
    """2048 rollouts, of which 30 and 160 run at a time."""
    many = replace(WORKLOAD, num_problems=128)
    whole = Cluster(
        [SimulatedEngine(TIMES, kv_tokens=kv_tokens, max_rows=max_running)], WorstCaseReservation(1)
    )
    expected_s = whole.run(draw_step(many, seed=0)).makespan_s
    engines = replace(group_of(1), kv_tokens=kv_tokens, max_running=max_running)
    assert engines_s(many, engines)[0] == pytest.approx(expected_s, rel=0.1)


def test_engines_that_share_a_device_take_turns():
    alone_s, _ = engines_s(WORKLOAD, group_of(2))
    shared_s, _ = engines_s(WORKLOAD, replace(group_of(2), engines_per_device=2))
    assert shared_s == 2 * alone_s
