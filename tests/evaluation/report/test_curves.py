import math

from rstar2.evaluation.report.curves import Line, Span, charts


def by_title(records):
    return {chart.title: chart for chart in charts(records)}


def test_rl_steps_are_numbered_through_the_stages():
    records = [
        {"phase": "sft", "step": 1, "loss": 2.0},
        {"phase": "rl1", "step": 1, "reward": 0.25},
        {"phase": "rl1", "step": 2, "reward": 0.5},
        {"phase": "rl2", "step": 1, "reward": 0.75, "kept_reward": 0.5},
    ]
    reward = by_title(records)["Reward"]
    assert reward.lines == (
        Line(label="all", points=((1, 0.25), (2, 0.5), (3, 0.75))),
        Line(label="kept by RoC", points=((3, 0.5),)),
    )
    assert reward.spans == (Span(name="rl1", first=1, last=2), Span(name="rl2", first=3, last=3))


def test_supervised_phases_have_charts_of_their_own_that_begin_at_one():
    records = [{"phase": "base", "loss": 6.0}, {"phase": "sft", "loss": 2.0}, {"phase": "sft", "loss": 1.0}]
    found = by_title(records)
    assert list(found) == ["Pre-training loss", "SFT loss"]
    assert found["SFT loss"].lines == (Line(label="loss", points=((1, 2.0), (2, 1.0))),)
    assert found["SFT loss"].spans == ()


def test_missing_and_infinite_values_leave_gaps():
    records = [{"phase": "rl1", "learner_loss": v} for v in (0.5, math.nan, math.inf, None, -0.5)]
    (line,) = by_title([*records, {"phase": "rl1"}])["Policy loss"].lines
    assert line.points == ((1, 0.5), (5, -0.5))


def test_charts_without_any_point_are_left_out():
    assert charts([{"phase": "rl1", "step": 1}]) == []
    assert charts([]) == []


def test_every_chart_names_its_unit():
    keys = ("reward", "tool_error_rate", "learner_loss", "generate_s", "clip_ratio", "learner_mismatch")
    found = charts([{"phase": "rl1", **dict.fromkeys(keys, 1.0)}])
    assert len(found) == len(keys)
    assert all(chart.unit and chart.x_label for chart in found)


def test_trouble_has_a_chart_only_where_there_was_some():
    calm = {"phase": "rl1", "dropped": 0.0, "lag_versions": 0.0, "learner_clip_fraction": 0.0}
    assert charts([calm, calm]) == []
    assert [chart.title for chart in charts([calm, calm | {"dropped": 2.0}])] == ["Lost rollouts"]
