import json

from hypothesis import given
from hypothesis import strategies as st

from rstar2.training.sampler import SamplerState
from rstar2.training.stages import StepOutcome
from rstar2.training.state import RunState

SHARES = st.floats(0, 1)
STATES = st.builds(
    RunState,
    phase=st.integers(0, 9),
    step=st.integers(0, 99),
    total_steps=st.integers(0, 99),
    phase_wall_s=st.floats(0, 1e6),
    sampler=st.builds(SamplerState, epoch=st.integers(0, 9), consumed=st.frozensets(st.text())),
    history=st.lists(st.builds(StepOutcome, reward=SHARES, all_correct_share=SHARES)),
    stage_problems=st.none() | st.lists(st.text()),
    num_probed=st.integers(0, 99),
    num_probes=st.integers(0, 9),
    vocabulary=st.text(),
    rows=st.lists(st.dictionaries(st.text(), SHARES | st.text() | st.integers())),
    metrics_bytes=st.integers(0),
    rollouts_bytes=st.integers(0),
)


@given(STATES)
def test_a_state_comes_back_from_json_as_it_was(state: RunState) -> None:
    assert RunState.from_json(json.loads(json.dumps(state.to_json()))) == state


def test_a_checkpoint_of_an_older_version_is_read() -> None:
    data = RunState(step=3, stage_problems=["p1"]).to_json()
    del data["num_probed"], data["num_probes"], data["vocabulary"]
    assert RunState.from_json(data) == RunState(step=3, stage_problems=["p1"])


def test_equal_states_are_written_equally_whatever_the_order_of_their_ids() -> None:
    ids = [f"gcd-{i}" for i in range(50)]
    first, second = (RunState(sampler=SamplerState(consumed=frozenset(o))) for o in (ids, ids[::-1]))
    assert json.dumps(first.to_json()) == json.dumps(second.to_json())
