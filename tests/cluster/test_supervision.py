from hypothesis import given
from hypothesis import strategies as st

from rstar2.cluster.supervision import Progress, Restarts


def test_the_first_death_costs_no_time_and_each_further_one_twice_as_much() -> None:
    restarts = Restarts(most=5)
    assert [restarts.died(float(now_s)) for now_s in range(6)] == [0.0, 1.0, 2.0, 4.0, 8.0, None]


def test_deaths_that_are_long_past_are_forgiven() -> None:
    restarts = Restarts(most=1, window_s=100.0)
    assert restarts.died(0.0) == 0.0
    assert restarts.died(101.0) == 0.0
    assert restarts.died(150.0) is None


@given(st.lists(st.floats(0.0, 50.0), max_size=60), st.integers(1, 6))
def test_no_more_restarts_than_allowed_fall_into_any_window(gaps_s: list[float], most: int) -> None:
    restarts, now_s, started_s = Restarts(most=most, window_s=100.0), 0.0, list[float]()
    for gap_s in gaps_s:
        now_s += gap_s
        pause_s = restarts.died(now_s)
        if pause_s is None:
            break
        assert 0.0 <= pause_s <= 60.0
        started_s.append(now_s)
    for first_s, last_s in zip(started_s, started_s[most:], strict=False):
        assert last_s - first_s > 100.0


def test_a_run_is_given_up_when_restarts_bring_no_new_checkpoint() -> None:
    progress = Progress(most=2)
    assert [progress.is_worth_a_restart("") for _ in range(3)] == [True, True, False]


def test_a_new_checkpoint_makes_up_for_all_restarts_so_far() -> None:
    progress = Progress(most=2)
    names = ["", "", "step-1", "step-1", "step-2", "step-2", "step-2"]
    assert [progress.is_worth_a_restart(name) for name in names] == [True] * 6 + [False]
