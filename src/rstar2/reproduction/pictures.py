"""Curves of the arms over steps, and over generated tokens: means over seeds with the spread as a band."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from rstar2.reproduction.arms import BASELINE
from rstar2.reproduction.contrasts import ByArm
from rstar2.reproduction.outcomes import Outcome

_CURVES = (
    ("tool_error_rate_correct", "tool errors inside right rollouts"),
    ("tokens_per_rollout", "tokens per rollout"),
    ("reward", "training reward"),
)
_FAMILIES = {
    "resampling": (BASELINE, "all_2g", "random", "topk", "weighted", "only_errors", "only_format"),
    "recipe": ("topk", "no_sft", "reversed", "one_length", "no_filter", "no_tools", "no_tools_large"),
}
"""Arms that are looked at together, by the name of their picture."""


def draw_curves(outcomes: ByArm, titles: Mapping[str, str], page: Path) -> list[Path]:
    """One picture for each family of which there are two arms, beside `page`, under its name; the paths."""
    drawn = []
    for family, members in _FAMILIES.items():
        present = [name for name in members if name in outcomes]
        if len(present) > 1:
            path = page.with_name(f"{page.stem}-{family}.svg")
            figure = _figure(outcomes, {name: titles[name] for name in present})
            with rc_context({"svg.hashsalt": family}):  # else each write makes up ids: a diff of every line
                figure.savefig(path, metadata={"Date": None})
            drawn.append(path)
    return drawn


def _figure(outcomes: ByArm, titles: Mapping[str, str]) -> Figure:
    figure = Figure(figsize=(9, 8.4), layout="constrained")
    axes = figure.subplots(len(_CURVES), 2, sharey="row", sharex="col")
    for (by_step, by_tokens), (metric, title) in zip(axes, _CURVES, strict=True):
        for name in titles:
            _draw(by_step, by_tokens, outcomes[name], metric, titles[name])
        by_step.set(ylabel=title)
        for axis in (by_step, by_tokens):
            axis.spines[["top", "right"]].set_visible(False)
            axis.set_ylim(bottom=0)
    axes[-1][0].set(xlabel="RL step")
    axes[-1][0].xaxis.set_major_locator(MaxNLocator(integer=True))
    axes[-1][1].set(xlabel="generated tokens, thousands")
    axes[0][1].legend(fontsize=7, frameon=False)
    return figure


def _draw(by_step: Axes, by_tokens: Axes, trials: Sequence[Outcome], metric: str, title: str) -> None:
    values_ST = _curves(trials, metric)
    mean_T, std_T = values_ST.mean(axis=0), values_ST.std(axis=0)
    steps_T = np.arange(1, mean_T.size + 1)
    for axis, x_T in ((by_step, steps_T), (by_tokens, _mean_tokens(trials, mean_T.size))):
        (line,) = axis.plot(x_T, mean_T, label=title, linewidth=1.2)
        low_T, high_T = mean_T - std_T, mean_T + std_T
        axis.fill_between(x_T, low_T, high_T, color=line.get_color(), alpha=0.12, linewidth=0)


def _curves(outcomes: Sequence[Outcome], metric: str) -> np.ma.MaskedArray[Any, np.dtype[np.float64]]:
    """(seed, step), as far as all seeds have come; masked where there was nothing to measure."""
    curves = [[step.value(metric) for step in outcome.steps] for outcome in outcomes]
    length = min(map(len, curves))
    return np.ma.masked_invalid(np.array([curve[:length] for curve in curves], dtype=np.float64))


def _mean_tokens(outcomes: Sequence[Outcome], length: int) -> npt.NDArray[np.float64]:
    """Generated up to each step, over seeds, thousands."""
    totals_ST = [[step.generated_tokens / 1000 for step in outcome.steps[:length]] for outcome in outcomes]
    return np.asarray(np.mean(totals_ST, axis=0))
