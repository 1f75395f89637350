from pathlib import Path

import pytest
from typer.testing import CliRunner

from rstar2.cli import app
from rstar2.rollout.placement.catalog import POLICY_NAMES
from rstar2.rollout.simulation.scenario import load_scenario
from rstar2.rollout.simulation.traces import write_traces
from rstar2.rollout.workload import PAPER_STAGES, draw_step
from rstar2.verbs import simulate as verb

CLUSTER = """
seeds = [1, 2]
[cluster]
model = "Qwen/Qwen3-0.6B"
accelerator = "h100"
num_devices = 2
"""


@pytest.fixture
def scenario(tmp_path):
    path = tmp_path / "scenario.toml"
    path.write_text(
        CLUSTER + '[[workloads]]\nstage = "rl1"\nprogress = 0.0\nnum_problems = 2\nrollouts_per_problem = 4\n'
    )
    return path


def test_every_policy_has_its_line_and_its_panel(scenario, tmp_path):
    picture = tmp_path / "picture.svg"
    done = CliRunner().invoke(app, ["simulate", str(scenario), "--picture", str(picture)])
    assert done.exit_code == 0, done.output
    for name in POLICY_NAMES:
        assert f"\n{name} " in done.output
        assert f">{name}<" in picture.read_text()


def test_workloads_of_one_stage_have_a_table_each_that_says_how_they_differ(scenario):
    def lines(start):
        output = CliRunner().invoke(app, ["simulate", str(scenario)]).output
        return [line.split() for line in output.splitlines() if line.startswith(start)]

    small = lines("static ")[0]
    more = '[[workloads]]\nstage = "{}"\nprogress = 0.0\nnum_problems = {}\nrollouts_per_problem = 4\n'
    scenario.write_text(scenario.read_text() + more.format("rl1", 5) + more.format("rl2", 7))
    titles = [line[: line.index("seconds")] for line in lines("rl")]
    assert titles == [["rl1,", "num_problems", "2"], ["rl1,", "num_problems", "5"], ["rl2"]]
    first, second, _, ratios = lines("static ")
    assert first == small != second
    assert len(ratios) == 1 + 3 * 2  # a mean and a range of each


def test_recorded_rollouts_are_played_instead(scenario, tmp_path):
    write_traces(tmp_path / "traces.jsonl", draw_step(PAPER_STAGES[0].first, seed=3, problem_ids=["a"]))
    done = CliRunner().invoke(app, ["simulate", str(scenario), "--trace", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert "32 recorded rollouts" in done.output
    assert "engines: 2 of 1 x h100" in done.output


def test_nothing_to_play_is_said(tmp_path):
    path = tmp_path / "scenario.toml"
    path.write_text(CLUSTER)
    done = CliRunner().invoke(app, ["simulate", str(path)])
    assert done.exit_code == 2
    assert "no workloads" in done.output


def test_a_picture_that_cannot_be_written_is_refused_before_anything_is_played(
    scenario, tmp_path, monkeypatch
):
    monkeypatch.setattr(verb, "play", lambda *_: pytest.fail("was played"))
    picture = tmp_path / "nowhere" / "picture.svg"
    done = CliRunner().invoke(app, ["simulate", str(scenario), "--picture", str(picture)])
    assert done.exit_code == 2
    assert "give another --picture" in " ".join(done.output.split())


def test_the_scenario_of_the_paper_loads():
    root = Path(__file__).parents[2]
    scenario = load_scenario(root / "configs/simulate-64xmi300x.toml")
    assert scenario.cluster.num_engines == 32
    assert [section.workload.num_rollouts for section in scenario.workloads] == [16_384] * 3
