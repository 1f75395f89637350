"""Plans of the configs that people have: the tiny one, the paper's, and ones that cannot be."""

from pathlib import Path

import pytest

from rstar2.config import RunConfig, load_config
from rstar2.errors import ConfigError
from rstar2.planning.advice import Changes, _wider_engines, first_change, with_changes
from rstar2.planning.plan import Plan, StagePlan, make_plan
from rstar2.planning.policy import policy_shape

CONFIGS = Path(__file__).parents[2] / "configs"
TINY = load_config(CONFIGS / "tiny.toml")
APART = load_config(CONFIGS / "qwen3-14b.toml")
"""The paper's run with 40 accelerators for engines and 24 for the learner."""
PAPER = with_changes(APART, {"cluster.colocated": True, "engine.num_engines": 64, "learner.num_ranks": 64})
"""Its engines and its learner take turns on all accelerators."""
FIRST_STAGE = {
    "stages": PAPER.stages[:1],
    "plan": PAPER.plan.model_copy(update={"mean_response_tokens": (2500,)}),
}


def paper(**changes: int | float | str | bool) -> RunConfig:
    """Its first stage; keys with `__` for dots."""
    config = PAPER.model_copy(update=FIRST_STAGE)
    return with_changes(config, {path.replace("__", "."): value for path, value in changes.items()})


def planned(config: RunConfig) -> Plan:
    return make_plan(config, policy_shape(config.model))


def advised(config: RunConfig) -> Changes | None:
    model = policy_shape(config.model)
    advice = first_change(config, model, make_plan(config, model))
    return None if advice is None else advice.changes


def test_the_paper_fits_its_cluster_and_keeps_below_its_week():
    """It reports less than a week for 510 steps, 19.8 minutes each."""
    plan = planned(PAPER)
    rl_s = sum(stage.total_s for stage in plan.stages)
    assert plan.fits
    assert 5 * 60 < rl_s / 510 < 19.8 * 60


def test_longer_responses_make_longer_steps():
    steps = [stage.step for stage in planned(PAPER).stages]
    assert steps[0].engines_s < steps[1].engines_s < steps[2].engines_s
    assert steps[0].learner_s < steps[1].learner_s < steps[2].learner_s


def published_s(**changes: int | float | str | bool) -> float:
    (stage,) = planned(paper(**changes)).stages
    return stage.step.publish_s


def test_new_weights_travel_whole_in_the_learners_type():
    """float32 over 50 GB/s between nodes, whatever the engine's type and however many hold it."""
    expected = pytest.approx(4 * policy_shape(PAPER.model).num_parameters / 50e9)
    assert PAPER.engine.dtype == "bfloat16"
    assert published_s() == expected
    assert published_s(engine__num_engines=16, cluster__accelerators_per_engine=4) == expected
    adapters = {"learner__lora": {"rank": 16}, "model__dtype": "bfloat16"}
    assert published_s(**adapters) == expected  # ranks always have float32


def test_new_weights_of_a_base_under_adapters_keep_its_type_in_one_process():
    one = {
        "cluster__num_accelerators": 1, "engine__num_engines": 1, "learner__num_ranks": 0,
        "cluster__checkpoint_activations": False, "model__dtype": "bfloat16",
    }  # fmt: skip
    assert published_s(**one) == 2 * published_s(**one, learner__lora={"rank": 16})


def changed_stage(**changes: int | str) -> StagePlan:
    """The first one."""
    config = paper()
    stages = (config.stages[0].model_copy(update=changes),)
    (stage,) = planned(config.model_copy(update={"stages": stages})).stages
    return stage


def test_without_roc_the_learner_learns_from_all_rollouts():
    """From 32 in place of 16 of each group; its prompt is computed once."""
    (kept,), (all_of_them,) = (planned(paper(**roc)).stages for roc in ({}, {"roc__mode": "off"}))
    ratio = (450 + 32 * 2500) / (450 + 16 * 2500)
    assert all_of_them.step.learner_s == pytest.approx(ratio * kept.step.learner_s, rel=1e-3)


def test_more_updates_than_one_score_the_later_shares_first():
    """Seven eighths of the tokens have a fifth forward, beside the four with checkpointed activations."""
    once, eight_times = (changed_stage(updates=n).step.learner_s for n in (1, 8))
    assert eight_times == pytest.approx((4 + 7 / 8) / 4 * once)


def test_problems_that_are_tried_for_mastery_take_their_time():
    """8 rollouts of each of 42,000 are those of 20.5 steps, of 1000 half a step's; new weights as often."""
    plain, probed, few = (
        changed_stage(**changes)
        for changes in ({}, {"problems": "unmastered"}, {"problems": "unmastered", "mastery_problems": 1000})
    )
    once_s = plain.step.rollouts_s + plain.step.publish_s
    assert plain.probing_s == 0
    assert probed.probing_s == pytest.approx(42_000 * 8 / (512 * 32) * once_s)
    assert few.probing_s == pytest.approx(1000 * 8 / (512 * 32) * once_s)
    assert probed.total_s == probed.probing_s + plain.total_s


def test_problems_that_nobody_has_counted_are_not_guessed():
    config = paper()
    stage = config.stages[0].model_copy(update={"problems": "unmastered"})
    section = config.problems.model_copy(update={"num_train": None})
    (uncounted,) = planned(config.model_copy(update={"problems": section, "stages": (stage,)})).stages
    assert uncounted.probing_s is None
    assert uncounted.total_s == uncounted.steps_s


def learning_bytes(**changes: object) -> float:
    return dict(planned(paper(**changes)).memory.budgets)["learning"].needed_bytes


def test_long_conversations_of_sft_files_take_the_learners_memory():
    """But no longer ones than a micro-batch holds anyway, and none that are not read."""
    assert learning_bytes(sft__max_tokens=20_000) == learning_bytes()
    assert learning_bytes(sft__max_tokens=100_000) > 2 * learning_bytes()
    assert learning_bytes(sft__max_tokens=100_000, sft__epochs=0, sft__steps=0) == learning_bytes()


def test_rollouts_at_a_time_are_those_that_the_room_holds():
    """730,000 / (450 + 8192) = 84 at the limit, 247 at the mean of 2500, on each of 64 engines."""
    (stage,) = planned(paper()).stages
    assert (stage.rollouts_at_limit, stage.rollouts_at_mean) == (64 * 84, 64 * 247)


def test_the_room_fits_exactly_and_a_thousand_more_do_not():
    room = planned(paper()).memory.kv_room_tokens
    assert planned(paper(engine__kv_tokens=room)).fits
    assert not planned(paper(engine__kv_tokens=room + 1000)).fits


def test_the_tiny_recipe_takes_about_what_the_demo_took():
    """608 s of steps were measured: 259 base, 79 SFT, 134 + 76 + 61 RL."""
    plan = planned(TINY)
    assert plan.fits
    assert plan.total_s == pytest.approx(608, rel=0.2)
    assert [stage.total_s for stage in plan.stages] == pytest.approx([134, 76, 61], rel=0.25)


def test_adapters_make_room_for_keys_and_values():
    """Of the 12 bytes per parameter that wait while engines generate, 4 stay: ranks always have float32."""
    changes = {"learner__lora": {"rank": 16}, "model__dtype": "bfloat16"}
    whole, adapted = planned(paper()), planned(paper(**changes))
    waiting = [
        dict(dict(plan.memory.budgets)["generating"].items)["waiting learner"] for plan in (whole, adapted)
    ]
    num_parameters = policy_shape(PAPER.model).num_parameters
    assert waiting[0] == 12 * num_parameters / 64
    assert waiting[1] == pytest.approx(4 * num_parameters / 64, rel=0.1)
    assert adapted.memory.kv_room_tokens > whole.memory.kv_room_tokens


def test_colocated_parts_count_each_other_and_others_do_not():
    together = dict(planned(paper()).memory.budgets)
    apart = dict(planned(paper(cluster__colocated=False, cluster__num_accelerators=128)).memory.budgets)
    assert "waiting learner" in dict(together["generating"].items)
    assert "engine weights" in dict(together["learning"].items)
    assert "waiting learner" not in dict(apart["generating"].items)
    assert "engine weights" not in dict(apart["learning"].items)


def test_engines_that_leave_no_learner_are_refused():
    with pytest.raises(ConfigError, match=r"cluster\.colocated"):
        planned(paper(cluster__colocated=False))


@pytest.mark.parametrize("num_ranks", [0, 1, 23, 25])
def test_ranks_that_are_not_as_many_as_the_accelerators_of_the_learner_are_refused(num_ranks):
    config = with_changes(
        APART, {"learner.num_ranks": num_ranks, "cluster.checkpoint_activations": num_ranks > 0}
    )
    with pytest.raises(ConfigError, match=rf"leave 24 of .* = 64 .*\.num_ranks = {num_ranks}: set it to 24"):
        planned(config)


def test_ranks_that_take_turns_with_engines_are_as_many_as_all_accelerators():
    with pytest.raises(ConfigError, match=r"leave 64 of .* = 64 .*\.num_ranks = 24: set it to 64"):
        planned(paper(learner__num_ranks=24))


def test_ranks_of_a_cpu_share_it():
    assert planned(with_changes(TINY, {"learner.num_ranks": 2})).fits


def test_a_cpu_is_one_accelerator():
    with pytest.raises(ConfigError, match=r"cpu-2-cores is a CPU, .* = 2: set it to 1"):
        planned(with_changes(TINY, {"cluster.num_accelerators": 2}))


def test_an_offloaded_optimizer_needs_a_host_that_holds_it():
    one = paper(
        model__base="Qwen/Qwen2.5-7B",
        cluster__num_accelerators=1,
        engine__num_engines=1,
        learner__num_ranks=1,
        cluster__accelerator="h100",
        cluster__offload_optimizer=True,
        cluster__host_memory_bytes=100e9,
    )
    host = dict(planned(one).memory.budgets)["host"]
    assert host.needed_bytes == pytest.approx(16 * 7.6156e9, rel=1e-4)
    assert not host.fits


# -- advice ----------------------------------------------------------------------------------------


def test_too_much_kv_is_cut_to_the_room():
    config = paper(cluster__accelerator="h100")
    changes = advised(config)
    assert changes == {"engine.kv_tokens": 188_000}
    assert planned(with_changes(config, changes)).fits


@pytest.mark.parametrize(("accelerator", "count"), [("h100", 8), ("a100", 4)])
def test_what_is_advised_fits(accelerator, count):
    config = paper(
        cluster__accelerator=accelerator,
        cluster__num_accelerators=count,
        engine__num_engines=count,
        learner__num_ranks=count,
        cluster__checkpoint_activations=False,
        cluster__host_memory_bytes=500e9,
    )
    assert not planned(config).fits
    changes = advised(config)
    assert changes is not None
    assert planned(with_changes(config, changes)).fits


def test_what_only_ranks_save_is_advised_with_a_rank():
    alone = {
        **LONG_SAMPLES,
        "learner": {**LONG_SAMPLES["learner"], "num_ranks": 0},
        "cluster": {"accelerator": "h100", "num_accelerators": 1},
    }
    changes = advised(RunConfig.model_validate(alone))
    assert changes is not None
    assert changes["cluster.checkpoint_activations"] is changes["cluster.offload_optimizer"] is True
    assert changes["learner.num_ranks"] == 1


def test_one_process_makes_room_for_ranks_as_engines_grow_wider():
    """3 engines of 1 beside a learner of 1, on 4: one engine of 2 leaves one more, so 2 ranks."""
    config = paper(
        cluster__colocated=False,
        cluster__num_accelerators=4,
        cluster__checkpoint_activations=False,
        engine__num_engines=3,
        learner__num_ranks=0,
    )
    (changes,) = _wider_engines(config)
    assert changes == {
        "cluster.accelerators_per_engine": 2,
        "engine.num_engines": 1,
        "learner.num_ranks": 2,
    }


def test_nothing_helps_a_model_that_is_too_large():
    config = paper(cluster__accelerator="cpu-2-cores", cluster__num_accelerators=1, engine__num_engines=1)
    assert advised(config) is None


def test_a_sandbox_with_few_workers_is_what_to_change_first():
    changes = advised(paper(sandbox__workers=4, cluster__sandbox_nodes=1))
    assert changes is not None
    assert changes["sandbox.workers"] > 50


def test_ranks_take_what_wider_engines_leave():
    """5 engines of 1 and 3 ranks, on 8: 2 engines of 2 and 4 ranks."""
    few = ["stages.0.problems_per_step=4"]
    changes = advised(load_config(CONFIGS / "qwen2.5-7b-8gpu.toml", few))
    assert changes is not None
    assert (changes["engine.num_engines"], changes["cluster.accelerators_per_engine"]) == (2, 2)
    assert changes["learner.num_ranks"] == 4


def test_room_that_is_not_used_is_what_to_change_first():
    changes = advised(paper(engine__kv_tokens=50_000))
    assert changes is not None
    assert changes["engine.kv_tokens"] > 700_000


LONG_SAMPLES = {
    "model": {"base": "Qwen/Qwen2.5-7B-Instruct"},
    "engine": {"kind": "vllm", "kv_tokens": 200_000, "max_running": 128, "dtype": "bfloat16"},
    "learner": {"num_ranks": 1, "bf16": True, "micro_batch_tokens": 16_384},
    "cluster": {
        "accelerator": "h100",
        "num_accelerators": 1,
        "checkpoint_activations": True,
        "offload_optimizer": True,
    },
    "sft": {"steps": 0},
    "evaluation": {"max_response_tokens": 15_934},
    "stages": [{"name": "rl1", "steps": 1, "max_response_tokens": 15_934}],
}
"""7B, 16,384 tokens per sample with its prompt, one accelerator of 80 GB."""


def test_our_own_engine_has_a_third_of_the_kv_room_of_vllm_as_its_rows_are_padded():
    paged = planned(RunConfig.model_validate(LONG_SAMPLES)).memory.kv_room_tokens
    engine = LONG_SAMPLES["engine"] | {"kind": "torch"}
    padded = planned(RunConfig.model_validate({**LONG_SAMPLES, "engine": engine})).memory.kv_room_tokens
    assert padded == paged // 3 > 0


def test_samples_of_16k_tokens_of_a_7b_fit_one_80_gb_accelerator_with_offload():
    """In GB. 7.616 G parameters: 15.2 in bfloat16 as weights, as gradients, and once more in the engine. What
    28 layers keep of 16,384 tokens is 3.3 (3584 values each), and backward holds one layer twice, 9.2. Chunks
    of 2048 logits are 3.7 and the output matrix's gradient 2.2. Of 76, 64 are used; the host holds 122."""
    plan = planned(RunConfig.model_validate(LONG_SAMPLES))
    budgets = dict(plan.memory.budgets)
    gigabytes = {name: size / 1e9 for name, size in budgets["learning"].items}
    assert gigabytes["weights"] == gigabytes["gradients"] == pytest.approx(15.23, abs=0.01)
    assert gigabytes["activations"] == pytest.approx(3.29 + 2 * 4.60, abs=0.01)
    assert gigabytes["log-probs"] == pytest.approx(3.74 + 2.18, abs=0.01)
    assert budgets["learning"].needed_bytes == pytest.approx(64.1e9, abs=0.1e9)
    assert budgets["host"].needed_bytes == pytest.approx(16 * 7.616e9, rel=1e-3)
    assert plan.fits


def test_without_offload_or_checkpointing_they_do_not():
    for key in ("offload_optimizer", "checkpoint_activations"):
        without = {**LONG_SAMPLES, "cluster": {**LONG_SAMPLES["cluster"], key: False}}
        assert not planned(RunConfig.model_validate(without)).fits
