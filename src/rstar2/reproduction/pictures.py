"""Curves of the arms over steps, and over generated tokens: means over seeds with the spread as a band."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from rstar2.reproduction.contrasts import ByArm
from rstar2.reproduction.outcomes import Outcome

_CURVES = (
    ("tool_error_rate_correct", "tool errors inside right rollouts"),
    ("tokens_per_rollout", "tokens per rollout"),
    ("reward", "training reward"),
)


def draw_curves(outcomes: ByArm, titles: Mapping[str, str], folder: Path) -> list[Path]:
    """One picture per curve, beside the page; the paths."""
    drawn = []
    for metric, title in _CURVES:
        path = folder / f"{metric}.svg"
        _figure(outcomes, titles, metric, title).savefig(path, metadata={"Date": None})
        drawn.append(path)
    return drawn


def _figure(outcomes: ByArm, titles: Mapping[str, str], metric: str, title: str) -> Figure:
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    by_step, by_tokens = figure.subplots(1, 2, sharey=True)
    for name, arm_title in titles.items():
        values_ST = _curves(outcomes[name], metric)
        mean_T, std_T = values_ST.mean(axis=0), values_ST.std(axis=0)
        steps_T = np.arange(1, mean_T.size + 1)
        tokens_T = _mean_tokens(outcomes[name], mean_T.size)
        for axis, x_T in ((by_step, steps_T), (by_tokens, tokens_T)):
            (line,) = axis.plot(x_T, mean_T, label=arm_title, linewidth=1.2)
            low_T, high_T = mean_T - std_T, mean_T + std_T
            axis.fill_between(x_T, low_T, high_T, color=line.get_color(), alpha=0.12, linewidth=0)
    by_step.set(xlabel="RL step", ylabel=title)
    by_tokens.set(xlabel="generated tokens, thousands")
    by_tokens.legend(fontsize=7, frameon=False)
    for axis in (by_step, by_tokens):
        axis.spines[["top", "right"]].set_visible(False)
        axis.set_ylim(bottom=0)
    return figure


def _curves(outcomes: Sequence[Outcome], metric: str) -> npt.NDArray[np.float64]:
    """(seed, step), as far as all seeds have come."""
    curves = [[step.values[metric] for step in outcome.steps] for outcome in outcomes]
    length = min(map(len, curves))
    return np.array([curve[:length] for curve in curves])


def _mean_tokens(outcomes: Sequence[Outcome], length: int) -> npt.NDArray[np.float64]:
    """Generated up to each step, over seeds, thousands."""
    totals_ST = [[step.generated_tokens / 1000 for step in outcome.steps[:length]] for outcome in outcomes]
    return np.asarray(np.mean(totals_ST, axis=0))
