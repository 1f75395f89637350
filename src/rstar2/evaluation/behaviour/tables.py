"""Behaviour as tables of text: the same in the terminal, in analysis.json and on the page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rstar2.evaluation.behaviour.analysis import Behaviour, PhaseBehaviour
from rstar2.evaluation.behaviour.conduct import MEASURES
from rstar2.evaluation.behaviour.tally import ReactionFigures, RegionFigures
from rstar2.evaluation.pass_at_k import Estimate

_NUM_SHOWN = 6
_NOTHING = "-"


@dataclass(frozen=True, slots=True, kw_only=True)
class TextTable:
    """Cells as they are to be read; the intervals are of 95 %."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def tables(found: Behaviour) -> list[TextTable]:
    """All tables, the most telling first."""
    return [_conduct(found), _regions(found.phases), _kinds(found.phases), _reactions(found.phases)]


def _conduct(found: Behaviour) -> TextTable:
    by_phase = {phase.phase: phase.conduct for phase in found.phases}
    columns: dict[str, Mapping[str, Estimate | None]] = by_phase
    if found.change is not None:
        before, after = found.change.before, found.change.after
        columns = {before: by_phase[before], after: by_phase[after], "change": found.change.conduct}
    return TextTable(
        title="Conduct",
        columns=("per rollout", *columns),
        rows=tuple(
            (m.title, *(_written(column[m.title], is_share=m.is_share) for column in columns.values()))
            for m in MEASURES
        ),
    )


def _regions(phases: Sequence[PhaseBehaviour]) -> TextTable:
    return TextTable(
        title="Entropy by what is written",
        columns=("phase", "region", "of all tokens", "entropy, nats", "uncertain"),
        rows=tuple(
            (phase.phase, region.value, *_region_cells(figures))
            for phase in phases
            for region, figures in phase.uncertainty.regions.items()
            if figures.uncertain is not None
        ),
    )


def _region_cells(figures: RegionFigures) -> tuple[str, ...]:
    return (
        _written(figures.share, is_share=True),
        _written(figures.entropy_nats, is_share=False),
        _written(figures.uncertain, is_share=True),
    )


def _kinds(phases: Sequence[PhaseBehaviour]) -> TextTable:
    return TextTable(
        title="What the uncertain tokens are",
        columns=("phase", "kind", "of the uncertain", "most frequent"),
        rows=tuple(
            (
                phase.phase,
                kind.value,
                _written(figures.share, is_share=True),
                "  ".join(f"{text!r} {count}" for text, count in figures.frequent[:_NUM_SHOWN]),
            )
            for phase in phases
            for kind, figures in phase.uncertainty.kinds.items()
            if figures.frequent
        ),
    )


def _reactions(phases: Sequence[PhaseBehaviour]) -> TextTable:
    return TextTable(
        title="Turns that answer a tool's response",
        columns=("phase", "response", "turns", "entropy, nats", "reflecting", "tokens of it"),
        rows=tuple(
            (phase.phase, name, *_reaction_cells(figures))
            for phase in phases
            for name, figures in (
                ("success", phase.uncertainty.after_success),
                ("error", phase.uncertainty.after_error),
            )
            if figures.num_turns
        ),
    )


def _reaction_cells(figures: ReactionFigures) -> tuple[str, ...]:
    return (
        str(figures.num_turns),
        _written(figures.entropy_nats, is_share=False),
        _written(figures.reflecting, is_share=True),
        _written(figures.reflection_tokens, is_share=False),
    )


def _written(estimate: Estimate | None, *, is_share: bool) -> str:
    if estimate is None:
        return _NOTHING
    if is_share:
        return f"{estimate.value:.1%} [{100 * estimate.low:.0f}, {100 * estimate.high:.0f}]"
    return f"{_number(estimate.value)} [{_number(estimate.low)}, {_number(estimate.high)}]"


def _number(value: float) -> str:
    """With three digits that count, but no more than three after the point."""
    size = abs(value)
    return f"{value:.{0 if size >= 100 else 1 if size >= 10 else 2 if size >= 1 else 3}f}"
