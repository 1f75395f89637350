"""The table that a run ends with: the same columns in the terminal and on the report's page."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One number of a summary row."""

    key: str
    title: str
    write: Callable[[Any], str]
    meaning: str

    def cell(self, row: Mapping[str, object]) -> str:
        return self.write(row[self.key])


COLUMNS = (
    Column(key="name", title="phase", write="{}".format, meaning="what was trained, then measured"),
    Column(key="steps", title="steps", write="{}".format, meaning="optimizer steps"),
    Column(
        key="pass_at_1", title="pass@1", write="{:.1%}".format, meaning="right rollouts, averaged by problem"
    ),
    Column(
        key="pass_at_1_ci95",
        title="95% CI",
        write=lambda ends: f"{100 * ends[0]:.0f}-{100 * ends[1]:.0f}%",
        meaning="of pass@1, by resampling problems",
    ),
    Column(
        key="tool_error_rate", title="errors", write="{:.1%}".format, meaning="failed tool calls among all"
    ),
    Column(
        key="tool_error_rate_correct",
        title="in right",
        write="{:.1%}".format,
        meaning="failed tool calls among those of right rollouts",
    ),
    Column(key="calls_per_rollout", title="calls", write="{:.2f}".format, meaning="tool calls per rollout"),
    Column(
        key="tokens_per_rollout",
        title="tokens",
        write="{:.0f}".format,
        meaning="per rollout after the prompt, tool responses included",
    ),
    Column(key="clip_ratio", title="cut", write="{:.1%}".format, meaning="rollouts that met the token limit"),
    Column(key="wall_s", title="time", write="{:.0f} s".format, meaning="wall clock of the phase"),
)


def cells(row: Mapping[str, object]) -> Sequence[str]:
    """One summary row as text, column by column."""
    return [column.cell(row) for column in COLUMNS]
