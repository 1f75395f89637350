from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from rstar2.evaluation.report.anatomy import MOST_TIMELINES, StepAnatomy, anatomies, spread


def metrics(step):
    return {"phase": "rl1", "step": step, "generate_s": 2.0, "learn_s": 1.0}


def timeline(step):
    return {
        "phase": "rl1",
        "step": step,
        "wall_s": 4.00049,
        "shares_s": {"generation": 2.0, "learner": 1.0, "idle": 1.0},
        "in_flight": {"generation": [8.004, 0.0]},
    }


def test_a_step_with_a_timeline_shows_its_course():
    assert anatomies([{"phase": "sft", "step": 1, "loss": 1.0}, metrics(1)], [timeline(1)]) == [
        StepAnatomy(
            phase="rl1",
            step=1,
            wall_s=4.0,
            shares_s={"generation": 2.0, "learner": 1.0, "idle": 1.0},
            in_flight={"generation": [8.0, 0.0]},
        )
    ]


def test_a_step_without_one_has_what_the_metrics_know():
    (step,) = anatomies([metrics(1)], [])
    assert (step.wall_s, step.shares_s, step.in_flight) == (3.0, {"generation": 2.0, "learner": 1.0}, None)


def test_a_long_run_shows_the_course_of_some_steps_and_the_shares_of_all():
    numbers = range(1, 3 * MOST_TIMELINES + 1)
    found = anatomies(map(metrics, numbers), map(timeline, numbers))
    assert len(found) == len(numbers)
    assert all(step.shares_s["idle"] == 1.0 for step in found)
    assert sum(step.in_flight is not None for step in found) == MOST_TIMELINES
    assert found[0].in_flight
    assert found[-1].in_flight


@given(count=st.integers(0, 999), most=st.integers(2, 50))
def test_what_is_spread_evenly_has_both_ends_and_no_gap_twice_as_wide_as_another(count, most):
    chosen = sorted(spread(count, most))
    assert len(chosen) == min(count, most)
    if count > 1:
        assert (chosen[0], chosen[-1]) == (0, count - 1)
        gaps = [b - a for a, b in pairwise(chosen)]
        assert max(gaps) <= 2 * min(gaps)
