"""What the micro-batches of one step say, added up: over micro-batches, and over ranks.

Everything that is added was divided by the step's one denominator before, so that plain sums are token means.
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor

from rstar2.grpo.loss import TokenLoss


@dataclass(slots=True)
class Tally:
    """Sums and maxima by the name of their metric."""

    sums: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    peaks: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))

    def add(self, terms: TokenLoss, entropy_T: Tensor, *, num_packed_tokens: int, denominator: int) -> None:
        """Count one micro-batch."""
        self.sums["loss"] += terms.loss.item()
        self.sums["entropy_nats"] += entropy_T.sum().item() / denominator
        self.sums["num_packed_tokens"] += num_packed_tokens
        for name, share in terms.shares.items():
            self.sums[name] += share.item()
        for name, peak in terms.peaks.items():
            self.peaks[name] = _larger(self.peaks[name], peak.item())


def total(tallies: Sequence[Tally]) -> dict[str, float]:
    """Metrics of the whole step, from the tallies of all ranks.

    With many ranks, `rank_imbalance` is the tokens of the busiest one over the mean. As `deal` gives the
    longest micro-batch of every round to one rank, 1.1 means a tenth more time than a perfect division takes.
    """
    sums: defaultdict[str, float] = defaultdict(float)
    peaks: defaultdict[str, float] = defaultdict(float)
    for tally in tallies:
        for name, value in tally.sums.items():
            sums[name] += value
        for name, value in tally.peaks.items():
            peaks[name] = _larger(peaks[name], value)
    metrics = {**sums, **peaks}
    if len(tallies) > 1:
        tokens = [tally.sums["num_packed_tokens"] for tally in tallies]
        metrics["rank_imbalance"] = max(tokens) * len(tokens) / sum(tokens)
    return metrics


def _larger(a: float, b: float) -> float:
    """A NaN stays, which `max` would drop or keep by its place."""
    return math.nan if math.isnan(a) or math.isnan(b) else max(a, b)
