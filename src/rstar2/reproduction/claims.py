"""What the paper claims, as inequalities between two arms, and whether the trials bear them out.

With x_s and y_s the measure of the arm and of its rival at seed s, a claim of less says

    d_s = x_s - factor * y_s - margin <= 0,

one of more the same with -x_s and -y_s. It holds if Student's 95 % interval of the mean of d over seeds
lies at or below 0, does not hold if it lies above, and is open otherwise. With a handful of seeds it is
about as wide as the seeds are apart, so `holds` means at every seed or nearly so.

A claim that allows nothing and demands nothing beyond, factor 1 and margin 0, is strict: it says `fewer` or
`higher`, so the interval must lie wholly below 0. Arms that are alike at every seed leave it open.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

from rstar2.evaluation.pass_at_k import Estimate
from rstar2.reproduction.arms import BASELINE
from rstar2.reproduction.contrasts import Cell, over_seeds, paired

_POINT = 0.01
FEWEST_SEEDS = 4
"""That can decide: three fall on one side by luck in one case of four."""


class Verdict(StrEnum):
    HOLDS = "holds"
    OPEN = "open"
    FAILS = "does not hold"


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One sentence, and the inequality that it means."""

    text: str
    arm: str
    rival: str
    measure: str
    """Key of a measure; {first} and {last} stand for the names of those stages."""
    more: bool = False
    factor: float = 1.0
    margin: float = 0.0
    """Of the measure; what is allowed in the rival's favour, or, negative, demanded beyond it."""

    @property
    def is_strict(self) -> bool:
        """Whether to be level with the rival is not enough."""
        return self.factor == 1 and self.margin == 0

    def excess(self, arm: Cell, rival: Cell) -> Estimate:
        """Mean over shared seeds of d, with its interval: at most 0 if all is as claimed."""
        sign = -1 if self.more else 1
        pairs = zip(*(c.values.values() for c in paired(arm, rival)), strict=True)
        return over_seeds([sign * (x - self.factor * y) - self.margin for x, y in pairs])

    def verdict(self, arm: Cell, rival: Cell) -> Verdict:
        if len(paired(arm, rival)[0].values) < FEWEST_SEEDS:
            return Verdict.OPEN
        found = self.excess(arm, rival)
        if found.high < 0 or (found.high == 0 and not self.is_strict):
            return Verdict.HOLDS
        return Verdict.FAILS if found.low > 0 else Verdict.OPEN


def claims(first: str, last: str) -> tuple[Claim, ...]:
    """Those that can be asked of a campaign whose first and last stages have these names."""
    return tuple(replace(claim, measure=claim.measure.format(first=first, last=last)) for claim in _CLAIMS)


_ERRORS = "tool_error_rate_correct_{first}"
_RIGHT = "pass_at_1_after_{last}"

_CLAIMS = (
    Claim(
        text="RoC ends the first stage with at most half the errors in right rollouts (Figure 4)",
        arm="topk",
        rival=BASELINE,
        measure=_ERRORS,
        factor=0.5,
    ),
    Claim(
        text="RoC has at most half of them over that stage as a whole",
        arm="topk",
        rival=BASELINE,
        measure="tool_error_rate_correct_through_{first}",
        factor=0.5,
    ),
    Claim(
        text="RoC by 1/penalty, as the paper's text has it, ends with at most half of them",
        arm="weighted",
        rival=BASELINE,
        measure=_ERRORS,
        factor=0.5,
    ),
    Claim(
        text="RoC ends with fewer of them than G of the same 2G drawn blindly",
        arm="topk",
        rival="random",
        measure=_ERRORS,
    ),
    Claim(
        text="RoC's pass@1 is not lower, give or take a point (Figure 9)",
        arm="topk",
        rival=BASELINE,
        measure=_RIGHT,
        more=True,
        margin=_POINT,
    ),
    Claim(
        text="RoC's responses are not longer, give or take 5 % (Figure 9)",
        arm="topk",
        rival=BASELINE,
        measure="tokens_per_rollout_{first}",
        factor=1.05,
    ),
    Claim(
        text="RL needs the SFT before it",
        arm="topk",
        rival="no_sft",
        measure=_RIGHT,
        more=True,
    ),
    Claim(
        text="a short limit first leaves shorter responses than a long one always",
        arm="topk",
        rival="one_length",
        measure="tokens_per_rollout_after_{last}",
    ),
    Claim(
        text="a short limit first ends no lower than a long one first, give or take a point",
        arm="topk",
        rival="reversed",
        measure=_RIGHT,
        more=True,
        margin=_POINT,
    ),
    Claim(
        text="to leave out what is mastered ends higher",
        arm="topk",
        rival="no_filter",
        measure=_RIGHT,
        more=True,
    ),
    Claim(
        text="the tool gives more than ten times the parameters do",
        arm="topk",
        rival="no_tools_large",
        measure=_RIGHT,
        more=True,
    ),
)
