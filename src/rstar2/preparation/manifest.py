"""What a preparation counted: per source, how many rows it began with and what each filter left."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

from rstar2.problems.filters import FilterCount


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceCount:
    """One source, from its rows to what is kept of it."""

    name: str
    origin: str
    """Hub id or path; empty if it was skipped."""
    licence: str
    paper: int
    """How many the paper has; 0 if it does not say."""
    filters: tuple[FilterCount, ...] = ()
    """In their order, the first from all rows."""

    @property
    def num_rows(self) -> int:
        return self.filters[0].num_before if self.filters else 0

    @property
    def num_kept(self) -> int:
        return self.filters[-1].num_after if self.filters else 0

    def filtered(self, last: FilterCount) -> Self:
        """With one more filter."""
        return replace(self, filters=(*self.filters, last))

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return cls(**{**data, "filters": tuple(FilterCount(**count) for count in data["filters"])})


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A whole preparation."""

    conversations: tuple[SourceCount, ...]
    problems: tuple[SourceCount, ...]
    benchmarks: tuple[tuple[str, int], ...]
    """(name, problems)."""
    remarks: tuple[str, ...] = ()
    """What was left out of the paper's way, one sentence each."""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def refusals(num_asked: int, num_answered: int) -> FilterCount:
    """The filter that a served model is by what it does not answer; the next preparation asks again."""
    return FilterCount(name="refused by the model", num_before=num_asked, num_after=num_answered)


def counts_of_drops(num_rows: int, drops: Sequence[tuple[str, int]]) -> tuple[FilterCount, ...]:
    """Filter after filter, from how many each dropped; those that dropped none are left out but the first."""
    counts: list[FilterCount] = []
    for name, num_dropped in drops:
        if num_dropped or not counts:
            counts.append(FilterCount(name=name, num_before=num_rows, num_after=num_rows - num_dropped))
            num_rows -= num_dropped
    return tuple(counts)
