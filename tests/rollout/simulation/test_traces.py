import pytest

from rstar2.errors import DataError
from rstar2.rollout.simulation.traces import read_traces, trace_of, write_traces
from rstar2.rollout.workload import PAPER_STAGES, TurnTrace, draw_step
from rstar2.types import Ending, Rollout, Segment, Source, ToolCall, ToolResult, ToolStatus, Turn


def test_what_is_written_is_read_again(tmp_path):
    traces = draw_step(PAPER_STAGES[0].first, seed=1, problem_ids=["a", "b"])
    write_traces(tmp_path / "traces.jsonl", traces[:20])
    write_traces(tmp_path / "traces.jsonl", traces[20:])
    assert read_traces(tmp_path) == traces
    assert read_traces(tmp_path / "traces.jsonl") == traces


def test_a_rollout_becomes_the_turns_and_waits_that_a_scheduler_met():
    def model(length):
        ids = tuple(range(length))
        return Segment(source=Source.MODEL, token_ids=ids, logprobs=(0.0,) * length, version=0)

    result = ToolResult(status=ToolStatus.OK, wall_s=0.25)
    rollout = Rollout(
        problem_id="p",
        index=3,
        segments=(
            Segment(source=Source.PROMPT, token_ids=(1, 2, 3)),
            model(5),
            Segment(source=Source.ENVIRONMENT, token_ids=(4, 4)),
            model(7),
        ),
        turns=(Turn(text="", call=ToolCall.of("t", {}), result=result), Turn(text="")),
        ending=Ending.FINISHED,
        answer=None,
        num_answers=0,
    )
    trace = trace_of(rollout, max_response_tokens=50)
    assert (trace.problem_id, trace.index, trace.prompt_tokens) == ("p", 3, 3)
    assert trace.turns == (
        TurnTrace(new_tokens=5, tool_s=0.25, tool_response_tokens=2),
        TurnTrace(new_tokens=7),
    )


@pytest.mark.parametrize("text", ["not json\n", '{"problem": "p"}\n'])
def test_a_file_of_something_else_is_refused(tmp_path, text):
    (tmp_path / "traces.jsonl").write_text(text)
    with pytest.raises(DataError, match="does not hold recorded rollouts"):
        read_traces(tmp_path)


def test_a_run_without_records_is_refused(tmp_path):
    with pytest.raises(DataError, match="no recorded rollouts"):
        read_traces(tmp_path)


def test_a_file_without_rollouts_is_refused(tmp_path):
    (tmp_path / "traces.jsonl").touch()
    with pytest.raises(DataError, match="is empty"):
        read_traces(tmp_path)
