"""The table that a run ends with: the same columns in the terminal and on the report's page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One number of a summary row."""

    key: str
    title: str
    pattern: str
    meaning: str

    def cell(self, row: Mapping[str, object]) -> str:
        return self.pattern.format(row[self.key])


COLUMNS = (
    Column(key="name", title="phase", pattern="{}", meaning="what was trained, then measured"),
    Column(key="steps", title="steps", pattern="{}", meaning="optimizer steps"),
    Column(key="pass_at_1", title="pass@1", pattern="{:.1%}", meaning="right rollouts, averaged by problem"),
    Column(
        key="pass_at_1_ci95",
        title="95% CI",
        pattern="{0[0]:.0%} - {0[1]:.0%}",
        meaning="of pass@1, by resampling problems",
    ),
    Column(key="tool_error_rate", title="errors", pattern="{:.1%}", meaning="failed tool calls among all"),
    Column(
        key="tool_error_rate_correct",
        title="in right",
        pattern="{:.1%}",
        meaning="failed tool calls among those of right rollouts",
    ),
    Column(key="calls_per_rollout", title="calls", pattern="{:.2f}", meaning="tool calls per rollout"),
    Column(
        key="tokens_per_rollout",
        title="tokens",
        pattern="{:.0f}",
        meaning="per rollout after the prompt, tool responses included",
    ),
    Column(key="clip_ratio", title="cut", pattern="{:.1%}", meaning="rollouts that met the token limit"),
    Column(key="wall_s", title="time", pattern="{:.0f} s", meaning="wall clock of the phase"),
)


def cells(row: Mapping[str, object]) -> Sequence[str]:
    """One summary row as text, column by column."""
    return [column.cell(row) for column in COLUMNS]
