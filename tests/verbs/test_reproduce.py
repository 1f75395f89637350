"""The page grows with the campaign: whoever looks in early sees what is done so far."""

import json
import subprocess
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from rstar2.config import RunConfig, dump_config, load_config
from rstar2.errors import InfrastructureError, InputError
from rstar2.reproduction.arms import arms_of, chosen, first_stage_alone
from rstar2.reproduction.campaign import DONE
from rstar2.reproduction.trials import Trial, trials_of
from rstar2.verbs import reproduce as verb

Holder = Callable[[Path], AbstractContextManager["subprocess.Popen[bytes]"]]

CONFIG = Path(__file__).parents[2] / "configs" / "reproduce.toml"
METRICS = (
    "tool_error_rate",
    "tool_error_rate_correct",
    "calls_per_rollout",
    "tokens_per_rollout",
    "clip_ratio",
    "all_correct_share",
    "reward",
)


@pytest.fixture
def config() -> RunConfig:
    return first_stage_alone(load_config(CONFIG))


def leave_results(trial: Trial, root: Path) -> None:
    """What a run of this trial would leave."""
    folder = trial.folder(root)
    folder.mkdir(parents=True)
    step = {"phase": "rl1", "engine_decode_tokens": 1000, **dict.fromkeys(METRICS, 0.5)}
    (folder / "metrics.jsonl").write_text(json.dumps(step) + "\n")
    row = {"name": "rl1", "pass_at_1": 0.5, "tokens_per_rollout": 70.0, "wall_s": 60.0}
    (folder / "summary.json").write_text(json.dumps({"stages": [row]}))
    (folder / DONE).touch()


def play(config: RunConfig, folder: Path, *, page: str = "results.md") -> None:
    verb.reproduce(
        config,
        root=folder / "runs",
        page=folder / page,
        names=["random", "topk"],
        num_seeds=1,
        num_at_once=1,
        command="rstar2 reproduce",
    )


def test_a_campaign_that_breaks_off_leaves_a_page_about_what_was_done(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run_some(trials: Sequence[Trial], *, root: Path, on_done: Callable[[Trial], None], **_: Any) -> None:
        for trial in trials[:3]:
            if not trial.is_done(root):
                leave_results(trial, root)
            on_done(trial)
        raise InfrastructureError("out of luck")

    monkeypatch.setattr(verb, "run_missing", run_some)
    with pytest.raises(InfrastructureError):
        play(config, tmp_path)
    text = (tmp_path / "results.md").read_text()
    assert "| GRPO, G rollouts |" in text
    assert "| random G of 2G |" in text
    assert "RoC, cleanest first" not in text

    (tmp_path / "results.md").unlink()
    monkeypatch.setattr(verb, "run_missing", lambda *_, **__: exit())
    with pytest.raises(SystemExit):
        play(config, tmp_path)
    assert (tmp_path / "results.md").read_text() == text, "it is written before anything else is run"


def test_a_config_without_stages_has_nothing_to_compare(config: RunConfig, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no RL stages"):
        play(config.model_copy(update={"stages": ()}), tmp_path)


def test_without_matplotlib_it_ends_before_the_first_trial(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verb, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"rstar2\[plots\]"):
        play(config, tmp_path)


def test_a_page_where_its_numbers_go_is_refused_before_anything_runs(
    config: RunConfig, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"ends in \.md"):
        play(config, tmp_path, page="results.json")
    assert not any(tmp_path.iterdir())


def test_a_folder_in_the_place_of_the_page_is_refused_before_anything_runs(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verb, "run_missing", lambda *_, **__: pytest.fail("ran for nothing"))
    (tmp_path / "results.md").mkdir()
    with pytest.raises(InputError, match="give --page the name of a file"):
        play(config, tmp_path)


def test_a_second_campaign_in_the_same_folder_is_refused(
    config: RunConfig, tmp_path: Path, another_process_in: Holder
) -> None:
    with (
        another_process_in(tmp_path / "runs"),
        pytest.raises(InputError, match=r"another process reproduces in"),
    ):
        play(config, tmp_path)
    assert not (tmp_path / "results.md").exists()


def test_the_page_of_a_finished_campaign_needs_no_right_to_write_there(
    config: RunConfig, tmp_path: Path, another_process_in: Holder
) -> None:
    arms = chosen(arms_of(config), ["random", "topk"])
    for trial in trials_of(arms, range(1)):
        leave_results(trial, tmp_path / "runs")
    (tmp_path / "runs" / "config.toml").write_text(dump_config(config))
    with another_process_in(tmp_path / "runs"):
        play(config, tmp_path)
    assert "RoC, cleanest first" in (tmp_path / "results.md").read_text()
