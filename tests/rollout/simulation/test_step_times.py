from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rstar2.errors import ConfigError
from rstar2.profiles import accelerator, model_shape
from rstar2.rollout.simulation.step_times import StepTimes, kv_capacity_tokens, step_times

TIMES = StepTimes(overhead_s=1.0, weights_s=10.0, kv_s=0.5, token_s=4.0, pair_s=0.01)


@pytest.mark.parametrize(
    ("num_rows", "context_tokens", "prefill_tokens", "prefill_pairs", "seconds"),
    [
        (2, 6, 0, 0, 14.0),  # reads 10 + 3, multiplies 8
        (5, 6, 0, 0, 21.0),  # multiplies 20
        (2, 6, 3, 100, 22.0),  # multiplies 20, attends 1
    ],
)
def test_a_step_lasts_as_long_as_the_slower_of_reading_and_multiplying(
    num_rows, context_tokens, prefill_tokens, prefill_pairs, seconds
):
    assert TIMES.step_s(
        num_rows=num_rows,
        context_tokens=context_tokens,
        prefill_tokens=prefill_tokens,
        prefill_pairs=prefill_pairs,
    ) == pytest.approx(seconds)


IN_TURN = replace(TIMES, overlaps=False)


def test_what_does_not_overlap_adds_up():
    seconds = IN_TURN.step_s(num_rows=2, context_tokens=6, prefill_tokens=3, prefill_pairs=100)
    assert seconds == pytest.approx(1 + 10 + 3 + 20 + 1)


MACHINES = st.sampled_from([TIMES, IN_TURN])
ROWS = st.integers(1, 12)
CONTEXT = st.integers(0, 200)
STEPS = st.integers(1, 60)


def one_by_one_s(times, num_steps, num_rows, context_tokens):
    return sum(
        times.step_s(
            num_rows=num_rows, context_tokens=context_tokens + i * num_rows, prefill_tokens=0, prefill_pairs=0
        )
        for i in range(num_steps)
    )


@given(times=MACHINES, num_steps=STEPS, num_rows=ROWS, context_tokens=CONTEXT)
def test_many_steps_last_as_long_as_one_after_the_other(times, num_steps, num_rows, context_tokens):
    closed_s = times.decode_s(num_steps, num_rows=num_rows, context_tokens=context_tokens)
    assert closed_s == pytest.approx(one_by_one_s(times, num_steps, num_rows, context_tokens))


@settings(max_examples=200)
@given(times=MACHINES, num_steps=STEPS, num_rows=ROWS, context_tokens=CONTEXT, share=st.floats(0, 1))
def test_a_step_has_begun_when_all_before_it_have_ended(times, num_steps, num_rows, context_tokens, share):
    elapsed_s = share * one_by_one_s(times, num_steps, num_rows, context_tokens)
    begun = times.steps_begun(elapsed_s, num_steps, num_rows=num_rows, context_tokens=context_tokens)
    assert 1 <= begun <= num_steps
    assert one_by_one_s(times, begun - 1, num_rows, context_tokens) <= elapsed_s + 1e-6
    assert elapsed_s <= one_by_one_s(times, begun, num_rows, context_tokens) + 1e-6


def test_the_paper_machine_holds_as_many_tokens_as_its_sizes_say():
    model, device = model_shape("Qwen/Qwen3-14B"), accelerator("mi300x")
    # 0.8 x 192 GB less 14.77e9 parameters of 2 bytes, by 2 x 40 layers x 8 heads x 128 x 2 bytes a token
    assert kv_capacity_tokens(model, device) == pytest.approx(
        (0.8 * 192e9 - 2 * 14.768e9) / 163_840, rel=1e-3
    )
    one, two = step_times(model, device), step_times(model, device, num_devices=2)
    assert one.kv_s == pytest.approx(163_840 / device.bandwidth_bytes_per_s)
    assert two.kv_s == pytest.approx(one.kv_s / 2)
    assert one.token_s / 2 < two.token_s < one.token_s  # half the products, and an exchange


def test_devices_without_a_link_hold_no_engine_together():
    model, device = model_shape("Qwen/Qwen3-0.6B"), accelerator("cpu-2-cores")
    with pytest.raises(ConfigError, match="cpu-2-cores has no link"):
        step_times(model, device, num_devices=2)
