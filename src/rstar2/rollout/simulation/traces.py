"""Rollouts that were run, kept as token counts and tool times: one JSON object per line.

A recorded rollout has the same form as a drawn one, so any policy can be tried on what a run really did.
"""

import json
from collections.abc import Iterable
from pathlib import Path

from rstar2.errors import DataError
from rstar2.rollout.workload import RolloutTrace, TurnTrace
from rstar2.types import Rollout, Source

FILE_NAME = "traces.jsonl"
"""Inside the folder of a run."""


def trace_of(rollout: Rollout, *, max_response_tokens: int) -> RolloutTrace:
    """What a scheduler met of a rollout: each model-written segment is a turn."""
    prompt_tokens = 0
    turns: list[TurnTrace] = []
    waits_s = [turn.result.wall_s if turn.result is not None else 0.0 for turn in rollout.turns]
    for segment in rollout.segments:
        if segment.source is Source.PROMPT:
            prompt_tokens += len(segment.token_ids)
        elif segment.source is Source.MODEL:
            turns.append(TurnTrace(new_tokens=len(segment.token_ids)))
        else:
            last = turns[-1]
            turns[-1] = TurnTrace(
                new_tokens=last.new_tokens,
                tool_s=waits_s[len(turns) - 1],
                tool_response_tokens=last.tool_response_tokens + len(segment.token_ids),
            )
    return RolloutTrace(
        problem_id=rollout.problem_id,
        index=rollout.index,
        prompt_tokens=prompt_tokens,
        max_response_tokens=max_response_tokens,
        turns=tuple(turns),
    )


def write_traces(path: Path, traces: Iterable[RolloutTrace]) -> None:
    """Append them to the file."""
    with path.open("a", encoding="utf-8") as file:
        for trace in traces:
            record = {
                "problem": trace.problem_id,
                "index": trace.index,
                "prompt_tokens": trace.prompt_tokens,
                "max_response_tokens": trace.max_response_tokens,
                "turns": [[t.new_tokens, t.tool_s, t.tool_response_tokens] for t in trace.turns],
            }
            file.write(json.dumps(record) + "\n")


def read_traces(path: Path) -> tuple[RolloutTrace, ...]:
    """From a file, or from the folder of a run."""
    path = path / FILE_NAME if path.is_dir() else path
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        traces = tuple(_trace(json.loads(line)) for line in lines)
    except OSError as error:
        raise DataError(f"there are no recorded rollouts at {path}: {error}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} does not hold recorded rollouts: {error!r}") from error
    if not traces:
        raise DataError(f"{path} is empty: a run writes to it when the first step has been played")
    return traces


def _trace(record: dict[str, object]) -> RolloutTrace:
    turns = record["turns"]
    assert isinstance(turns, list)
    return RolloutTrace(
        problem_id=str(record["problem"]),
        index=int(str(record["index"])),
        prompt_tokens=int(str(record["prompt_tokens"])),
        max_response_tokens=int(str(record["max_response_tokens"])),
        turns=tuple(
            TurnTrace(new_tokens=new, tool_s=tool_s, tool_response_tokens=response)
            for new, tool_s, response in turns
        ),
    )
