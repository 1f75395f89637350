"""Times are exact here: a step costs 1 s whatever it holds, unless a test says otherwise."""

import math

import pytest

from rstar2.rollout.simulation.engine import SimulatedEngine
from rstar2.rollout.simulation.rows import Row
from rstar2.rollout.simulation.step_times import StepTimes

SECOND = StepTimes(overhead_s=1.0, weights_s=0.0, kv_s=0.0, token_s=0.0)


def row(name, *, tokens=5, write=3, prompt=5, group=None, computed=0, most=100, reserved=True):
    return Row(
        rollout_id=name,
        group_id=group or name,
        prompt_tokens=prompt,
        num_tokens=tokens,
        num_computed=computed,
        to_write=write,
        max_new_tokens=most,
        is_reserved=reserved,
    )


def run(engine, *, until=math.inf, release=False):
    """(time, rollout, tokens) of the turns that end."""
    ended = []
    while engine.next_s <= until and engine.next_s < math.inf:
        at_s = engine.next_s
        ended += [(at_s, row.rollout_id, row.num_tokens) for row in engine.advance()]
        for _, name, _ in ended if release else ():
            engine.release(name)
        engine.wake(at_s)
    return ended


def test_a_turn_takes_a_prefill_step_and_one_for_each_further_token():
    engine = SimulatedEngine(SECOND, kv_tokens=100)
    engine.submit(row("a", write=3))
    engine.wake(10.0)
    assert run(engine) == [(13.0, "a", 8)]
    assert engine.counts.busy_s == 3.0
    assert (engine.counts.prefilled_tokens, engine.counts.decoded_tokens) == (5, 3)
    assert engine.counts.num_steps == 3
    assert engine.counts.read_tokens == 6 + 7  # the first of the three tokens is drawn by the prefill


def test_rows_advance_together_and_newcomers_join_at_the_next_step():
    engine = SimulatedEngine(SECOND, kv_tokens=100)
    engine.submit(row("a", write=10))
    engine.wake(0.0)
    run(engine, until=1.0)
    engine.submit(row("b", write=2))
    engine.wake(3.5)  # a's present step ends at 4
    assert run(engine) == [(6.0, "b", 7), (10.0, "a", 15)]


def test_a_long_prefill_is_cut_into_chunks_beside_which_others_decode():
    engine = SimulatedEngine(SECOND, kv_tokens=100, prefill_chunk_tokens=4)
    engine.submit(row("a", tokens=10, prompt=10, write=1))
    engine.wake(0.0)
    assert run(engine) == [(3.0, "a", 11)]


def test_a_group_shares_the_room_and_the_prefill_of_its_prompt():
    engine = SimulatedEngine(SECOND, kv_tokens=100)
    for name in "abc":
        engine.submit(row(name, tokens=20, prompt=20, group="g", write=4))
    engine.wake(0.0)
    run(engine, until=1.0)
    assert engine.load(1.0).kv_tokens_used == 20 + 3
    run(engine)
    assert engine.counts.prefilled_tokens == 20 + 1 + 1  # of a shared prompt, the last token draws the first


def test_the_next_turn_computes_only_what_is_new():
    engine = SimulatedEngine(SECOND, kv_tokens=100)
    engine.submit(row("a", write=3))
    engine.wake(0.0)
    run(engine)
    engine.submit(row("a", tokens=8 + 4, computed=8, write=2))
    engine.wake(9.0)
    run(engine)
    assert engine.counts.prefilled_tokens == 5 + 4
    assert engine.counts.recomputed_tokens == 0
    engine.release("a")
    assert engine.load(20.0).kv_tokens_used == 0


def test_a_prefix_from_elsewhere_is_computed_again():
    engine = SimulatedEngine(SECOND, kv_tokens=100)
    engine.submit(row("a", tokens=12, computed=8, write=2))
    engine.wake(0.0)
    run(engine)
    assert engine.counts.recomputed_tokens == 8


def test_kept_prefixes_go_first_the_oldest_before_the_others():
    engine = SimulatedEngine(SECOND, kv_tokens=30)
    for name in "ab":
        engine.submit(row(name, tokens=5, write=5))
        engine.wake(0.0)
        run(engine)
    engine.submit(row("c", tokens=15, prompt=15, write=2))
    engine.wake(50.0)
    run(engine)
    assert engine.counts.evicted_tokens == 10  # a, not b
    engine.submit(row("b", tokens=10, computed=10, write=1))
    engine.wake(90.0)
    run(engine)
    assert engine.counts.recomputed_tokens == 0


def test_without_room_the_youngest_rows_are_retracted_and_end_later_all_the_same():
    engine = SimulatedEngine(SECOND, kv_tokens=60)
    engine.submit(row("old", write=40))
    engine.wake(0.0)
    run(engine, until=10.0)
    engine.submit(row("young", write=30))
    engine.wake(10.0)
    ended = run(engine, release=True)
    assert [(name, tokens) for _, name, tokens in ended] == [("old", 45), ("young", 35)]
    assert engine.counts.num_retractions == 1
    assert engine.counts.evicted_tokens == engine.counts.recomputed_tokens == 25


def test_a_turn_without_reservation_waits_until_what_may_be_written_is_guessed_to_fit():
    engine = SimulatedEngine(SECOND, kv_tokens=100)
    engine.submit(row("a", write=3, most=60, reserved=False))
    engine.submit(row("b", write=3, most=60, reserved=False))  # 5 + 60 now, and 0.7 x 60 of a
    engine.wake(0.0)
    assert engine.load(0.0).num_running == 1
    assert engine.load(0.0).num_waiting == 1
    assert [name for _, name, _ in run(engine)] == ["a", "b"]


def test_a_stopped_turn_comes_back_with_what_it_has():
    engine = SimulatedEngine(SECOND, kv_tokens=100)
    engine.submit(row("a", write=10))
    engine.wake(0.0)
    run(engine, until=1.0)
    engine.stop("a")
    engine.wake(4.2)
    (ended,) = engine.advance()
    assert (ended.num_tokens, ended.to_write) == (10, 5)
    assert engine.load(5.0).kv_tokens_used == 0
    assert engine.next_s == math.inf


def test_loads_tell_how_far_a_segment_has_come():
    engine = SimulatedEngine(SECOND, kv_tokens=100)
    engine.submit(row("a", write=10))
    engine.wake(0.0)
    run(engine, until=1.0)
    assert engine.load(4.5).num_steps == 1 + 3
    assert engine.load(4.5).kv_tokens_used == 5 + 1 + 3


def test_time_follows_the_cost_of_what_is_read():
    engine = SimulatedEngine(StepTimes(overhead_s=0.0, weights_s=1.0, kv_s=0.1, token_s=0.0), kv_tokens=100)
    engine.submit(row("a", write=3))
    engine.wake(0.0)
    # prefill reads no context, then 6 and 7 tokens are read
    assert run(engine) == [(pytest.approx(1.0 + 1.6 + 1.7), "a", 8)]
