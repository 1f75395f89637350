"""Every number that the paper gives of its run, and that the release gives of its demo, against the configs.

P is a section of arXiv:2508.20722, R a file of github.com/microsoft/rStar, L RLinf's rstar2 example.
"""

from pathlib import Path
from typing import Any

import pytest

from rstar2.config import PreparationConfig, load_config, load_section

CONFIGS = Path(__file__).parents[2] / "configs"
KIBI = 1024

PAPER = [
    ("model.base", "Qwen/Qwen3-14B-Base", "P 5.1"),
    ("sft.epochs", 3, "P 5.1"),
    ("sft.samples_per_step", 128, "P 5.1"),
    ("sft.lr", 5e-6, "P 5.1"),
    ("sft.warmup_share", 0.04, "P 5.1"),
    ("sft.decay", "cosine", "P 5.1"),
    ("plan.sft_conversations", 117_000 + 48_000 + 30_000 + 27_000, "P 4.1"),
    ("problems.num_train", 42_000, "P 4.2"),
    ("problems.num_test", 30 + 30 + 30 + 500, "P 5.1, the benchmarks' sizes"),
    ("roc.mode", "weighted", "P 2.2.3"),
    ("learner.clip_low", 0.2, "P 2.2.1"),
    ("learner.clip_high", 0.28, "P 2.2.1"),
    ("learner.betas", [0.9, 0.999], "R verl's defaults"),
    ("learner.weight_decay", 0.01, "R verl's defaults"),
    ("learner.grad_clip", 1.0, "R verl's defaults"),
    ("learner.micro_batch_tokens", 20_480, "R run_qwen3-14b_rstar2_agent_weave.sh"),
    ("roc.min_each", 2, "R run_qwen3-14b_rstar2_agent_weave.sh"),
    ("stages.*.name", ["rl1", "rl2", "rl3"], "P 4.3"),
    ("stages.*.steps", [300, 385 - 300, 125], "P 5.1, 5.2"),
    ("stages.*.problems_per_step", [512] * 3, "P 4.3"),
    ("stages.*.oversample", [32] * 3, "P 4.3"),
    ("stages.*.group_size", [16] * 3, "P 4.3"),
    ("stages.*.max_response_tokens", [8 * KIBI, 12 * KIBI, 12 * KIBI], "P 4.3"),
    ("stages.*.max_turns", [10, 10, 15], "P 5.1"),
    ("stages.*.updates", [1] * 3, "R 128 prompts per mini-batch of 128"),
    ("stages.*.lr", [1e-6] * 3, "P 5.1"),
    ("stages.0.warmup_steps", 20, "P 5.1"),
    ("stages.*.temperature", [1.0] * 3, "P 5.1"),
    ("stages.*.top_p", [1.0] * 3, "R verl's defaults"),
    ("stages.1.exit.all_correct_share", 0.7, "P 4.3"),
    ("stages.*.problems", ["all", "all", "unmastered"], "P 4.3"),
    ("stages.2.mastery_rollouts", 8, "P 4.3"),
    ("stages.*.reset_optimizer", [False, False, True], "P 4.3"),
    ("evaluation.rollouts", 16, "P 5.1"),
    ("evaluation.temperature", 0.6, "P 5.1"),
    ("evaluation.max_response_tokens", 30 * KIBI, "P 5.1"),
    ("evaluation.max_turns", 30, "P 5.1"),
    ("sandbox.workers", 1024, "P 3.1"),
    ("cluster.sandbox_nodes", 7, "P 3.1: 64 accelerators are 8 nodes, of which one is the master"),
    ("sandbox.time_limit_s", 4.0, "R README"),
    ("cluster.accelerator", "mi300x", "P 4.3"),
    ("cluster.num_accelerators", 64, "P 4.3"),
    ("cluster.engine_memory_share", 0.8, "R run_qwen3-14b_rstar2_agent_weave.sh"),
    ("plan.clip_share", 0.1, "P 4.3"),
    ("plan.calls_per_rollout", 2.75, "P 3.1: 45K calls over 512 x 32 rollouts"),
    ("plan.tool_s", 0.3, "P 3.1"),
]

REFERENCE = [
    ("model.base", "Qwen/Qwen2.5-7B-Instruct", "L"),
    ("sft.steps", 0, "L"),
    ("problems.num_test", 30 + 30 + 500, "R data_preprocess"),
    ("protocol.tool_response_chars", 256, "R verl's defaults, L"),
    ("roc.mode", "topk", "R roc.py"),
    ("roc.min_each", 2, "R run_qwen3-14b_rstar2_agent_weave.sh"),
    ("learner.clip_low", 0.2, "R run_qwen3-14b_rstar2_agent_weave.sh"),
    ("learner.clip_high", 0.28, "R run_qwen3-14b_rstar2_agent_weave.sh"),
    ("learner.betas", [0.9, 0.999], "R verl's defaults, L"),
    ("learner.weight_decay", 0.01, "R verl's defaults, L"),
    ("learner.grad_clip", 1.0, "R verl's defaults, L"),
    ("learner.micro_batch_tokens", 16_384, "L"),
    ("stages.*.steps", [150], "L"),
    ("stages.*.problems_per_step", [128], "R run_qwen3-14b_rstar2_agent_weave.sh, L"),
    ("stages.*.oversample", [32], "R run_qwen3-14b_rstar2_agent_weave.sh, L"),
    ("stages.*.group_size", [16], "R run_qwen3-14b_rstar2_agent_weave.sh, L"),
    ("stages.*.max_response_tokens", [8192], "R run_qwen3-14b_rstar2_agent_weave.sh, L"),
    ("stages.*.max_turns", [5], "R rstar2_agent_trainer.yaml"),
    ("stages.*.updates", [1], "R 128 prompts per mini-batch of 128; L: n_minibatches 1"),
    ("stages.*.lr", [1e-6], "R run_qwen3-14b_rstar2_agent_weave.sh, L"),
    ("stages.*.warmup_steps", [20], "R run_qwen3-14b_rstar2_agent_weave.sh; L: 0.1 of 200"),
    ("stages.*.temperature", [1.0], "R verl's defaults"),
    ("stages.*.top_p", [1.0], "R verl's defaults"),
    ("evaluation.rollouts", 16, "R aime_eval.sh"),
    ("evaluation.max_response_tokens", 30_720, "R aime_eval.sh"),
    ("evaluation.max_turns", 5, "R rstar2_agent_trainer.yaml"),
    ("sandbox.workers", 64, "R README"),
    ("sandbox.time_limit_s", 4.0, "R README"),
    ("cluster.accelerator", "h100", "L"),
    ("cluster.num_accelerators", 8, "L"),
    ("cluster.engine_memory_share", 0.8, "R run_qwen3-14b_rstar2_agent_weave.sh"),
]


def compared(config: str, facts: list[tuple[str, object, str]]) -> list[Any]:
    return [pytest.param(config, key, said, id=f"{config}-{key} ({source})") for key, said, source in facts]


@pytest.mark.parametrize(
    ("config", "key", "said"), compared("qwen3-14b", PAPER) + compared("qwen2.5-7b-8gpu", REFERENCE)
)
def test_the_config_says_what_the_source_says(config: str, key: str, said: object) -> None:
    settings = load_config(CONFIGS / f"{config}.toml").model_dump(mode="json")
    assert value_at(settings, key.split(".")) == said


def value_at(found: Any, path: list[str]) -> object:
    """What lies below; `*` gathers it from every entry of a list."""
    if not path:
        return found
    first, *rest = path
    if first == "*":
        return [value_at(entry, rest) for entry in found]
    return value_at(found[int(first) if isinstance(found, list) else first], rest)


def test_the_papers_stages_take_510_steps() -> None:
    assert sum(stage.steps for stage in load_config(CONFIGS / "qwen3-14b.toml").stages) == 510


# -- data ------------------------------------------------------------------------------------------


def test_the_sources_are_as_many_as_the_paper_says() -> None:
    """P 4.1: ToolACE 11K + APIGen-MT 5K + Glaive 101K = 117K, Magicoder 48K, 30K, 27K; P 4.2: over 100K."""
    config = load_section(PreparationConfig, CONFIGS / "data.toml")
    sizes = {name: source.paper or source.take for name, source in config.conversations.items()}
    assert sizes["toolace"] + sizes["apigen-mt"] + sizes["glaive"] == 117_000
    assert sizes["magicoder-oss"] + sizes["magicoder-evol"] == 48_000
    assert (sizes["tulu3"], sizes["nemotron"], sum(sizes.values())) == (30_000, 27_000, 222_000)
    assert [source.paper for source in config.problems.values()] == [17_000, 93_000, 937]
    assert (config.paper_conversations, config.paper_problems) == (222_000, 42_000)


def test_labels_are_checked_as_the_paper_checks_them() -> None:
    """P 4.2: 16 responses of Qwen3-32B, of which 2 must agree; AoPS only."""
    config = load_section(PreparationConfig, CONFIGS / "data.toml")
    check = config.label_check
    assert (check.model, check.answers, check.min_agreeing) == ("Qwen/Qwen3-32B", 16, 2)
    assert [name for name, source in config.problems.items() if source.check_labels] == ["aops"]
