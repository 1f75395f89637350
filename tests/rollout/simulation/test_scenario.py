from dataclasses import replace

import pytest

from rstar2.errors import ConfigError
from rstar2.rollout.placement.catalog import DEFAULT_POLICY
from rstar2.rollout.simulation.scenario import ClusterSection, Scenario, WorkloadSection, load_scenario
from rstar2.rollout.workload import draw_step

CLUSTER = ClusterSection(model="Qwen/Qwen3-14B", accelerator="mi300x", num_devices=4, devices_per_engine=2)


def test_costs_are_ratios_of_the_step_times():
    times, costs = CLUSTER.times, CLUSTER.costs
    assert costs.step_reads * times.kv_s == pytest.approx(times.overhead_s + times.weights_s)
    assert costs.prefill_reads * times.kv_s == pytest.approx(times.token_s)


def test_a_step_of_a_stage_is_played_and_takes_longer_than_its_bound():
    scenario = Scenario(cluster=CLUSTER)
    workload = WorkloadSection(stage="rl1", progress=0.1, num_problems=4, rollouts_per_problem=8).workload
    traces = draw_step(workload, seed=1)
    policy = scenario.policy(DEFAULT_POLICY, scenario.earlier_step(workload, 1))
    outcome = scenario.play(policy, traces)
    assert len(outcome.finished_s) == 32
    assert outcome.makespan_s > scenario.bound_s(traces)
    assert len(outcome.engines) == 2


def test_an_earlier_step_has_the_same_problems_only_in_a_later_epoch():
    workload = WorkloadSection(stage="rl1", num_problems=3, rollouts_per_problem=2).workload
    first, later = Scenario(cluster=CLUSTER), Scenario(cluster=CLUSTER, is_later_epoch=True)
    ids = {trace.problem_id for trace in draw_step(workload, seed=5)}
    assert ids.isdisjoint(trace.problem_id for trace in first.earlier_step(workload, 5))
    assert ids == {trace.problem_id for trace in later.earlier_step(workload, 5)}


SOUND = "[cluster]\nmodel = 'm'\naccelerator = 'a'\nnum_devices = 2\n"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("seeds = [", "is not valid TOML"),
        ("[cluster]\nmodel = 'm'\naccelerator = 'a'\n", r"cluster\.num_devices: Field required"),
        (SOUND + "colour = 1\n", r"cluster\.colour: unknown key; known here: model"),
        (SOUND + "devices_per_engine = 4\n", r"cluster: engines of 4 devices .* do not share out 2"),
        (
            SOUND.replace("2", "3") + "devices_per_engine = 2\n",
            "cluster: engines of 2 devices .* share out 3",
        ),
        ("seeds = []\n" + SOUND, "seeds: .* at least 1"),
        ("policies = []\n" + SOUND, "policies: .* at least 1"),
    ],
)
def test_a_slip_in_the_file_is_named(tmp_path, text, complaint):
    path = tmp_path / "scenario.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=complaint):
        load_scenario(path)


@pytest.mark.parametrize("memory_share", [0.1, 0.2])
def test_an_engine_without_room_for_the_longest_rollout_is_refused(memory_share):
    """Of 192 GB: less than the weights' 29.5, and 5.4 more than they, 33 K tokens of 164 KB."""
    cluster = ClusterSection(
        model="Qwen/Qwen3-14B", accelerator="mi300x", num_devices=1, memory_share=memory_share
    )
    workload = WorkloadSection(stage="rl3", num_problems=1, rollouts_per_problem=1).workload
    (trace,) = draw_step(workload, seed=1)
    long = replace(trace, max_response_tokens=60_000)
    with pytest.raises(ConfigError, match=r"has room for \d+ tokens, and a rollout may need 6\d{4}"):
        Scenario(cluster=cluster).bound_s([long])
