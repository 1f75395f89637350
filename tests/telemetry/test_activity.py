import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rstar2.telemetry import Activity, Work
from rstar2.telemetry.activity import NUM_PARTS


class Clock:
    """Shows what it is set to."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_every_moment_of_a_step_is_counted_once_by_what_went_on():
    clock = Clock()
    activity = Activity(clock)
    with activity.span(Work.GENERATION):
        clock.now_s += 2
        with activity.span(Work.TOOLS):  # beside generation it holds nobody up
            clock.now_s += 1
    with activity.span(Work.TOOLS):
        clock.now_s += 3
    with activity.span(Work.REWARD):
        clock.now_s += 4
    clock.now_s += 5
    with activity.span(Work.LEARNER):
        clock.now_s += 6
        with activity.span(Work.GENERATION):
            clock.now_s += 7
    window = activity.window()
    assert window.wall_s == 28
    assert window.shares_s == pytest.approx(
        {"generation": 3, "tools": 3, "reward": 4, "idle": 5, "learner": 6, "both": 7}
    )


def test_each_part_of_a_window_tells_how_many_were_under_way():
    clock = Clock()
    activity = Activity(clock)
    with activity.span(Work.TOOLS), activity.span(Work.TOOLS):
        clock.now_s += NUM_PARTS / 2 + 0.25
    clock.now_s += NUM_PARTS / 2 - 0.25
    tools = activity.window().in_flight["tools"]
    assert tools == pytest.approx([2.0] * 30 + [0.5] + [0.0] * 29)


def test_what_is_still_under_way_goes_on_in_the_next_window():
    clock = Clock()
    activity = Activity(clock)
    with activity.span(Work.GENERATION):
        clock.now_s += 1
        activity.window()
        clock.now_s += 2
    clock.now_s += 2
    window = activity.window()
    assert window.shares_s == {"generation": 2, "idle": 2}
    assert activity.window().wall_s == 0


def test_a_failure_ends_its_span():
    activity = Activity()
    with pytest.raises(ValueError, match="bad"), activity.span(Work.REWARD):
        raise ValueError("bad")
    activity.window()
    assert set(activity.window().shares_s) == {"idle"}


def test_spans_of_other_threads_count():
    activity = Activity()

    def learn() -> None:
        with activity.span(Work.LEARNER):
            pass

    thread = threading.Thread(target=learn)
    thread.start()
    thread.join()
    assert "learner" in activity.window().shares_s


@given(
    gaps=st.lists(
        st.tuples(st.sampled_from(list(Work)), st.floats(0.001, 1e3), st.floats(0.001, 1e3)), max_size=9
    )
)
def test_shares_sum_to_the_wall_clock_and_parts_to_the_seconds_of_spans(gaps):
    clock = Clock()
    activity = Activity(clock)
    busy_s = dict.fromkeys(Work, 0.0)
    for work, length_s, pause_s in gaps:
        with activity.span(work):
            clock.now_s += length_s
        clock.now_s += pause_s
        busy_s[work] += length_s
    window = activity.window()
    assert sum(window.shares_s.values()) == pytest.approx(window.wall_s)
    part_s = window.wall_s / NUM_PARTS
    for work, seconds in busy_s.items():
        # Each part is rounded to three digits.
        assert sum(window.in_flight[work]) * part_s == pytest.approx(seconds, abs=6e-4 * window.wall_s)
