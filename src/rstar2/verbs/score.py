"""`rstar2 eval`: play a checkpoint on problems and say how good it is, and how sure that is."""

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rstar2.assemble import held_out_problems, playing
from rstar2.config import RunConfig
from rstar2.console import BarWatcher, console, plain_table, progress_bar, show_text
from rstar2.evaluation.evaluate import evaluation_limits, pass_at_1_by_task, summarise
from rstar2.evaluation.pass_at_k import Estimate
from rstar2.evaluation.scorecard import pass_at_ks
from rstar2.ports import Tokenizer
from rstar2.problems.load import Fields, load
from rstar2.rollout.transcript import readable
from rstar2.telemetry import JsonLines
from rstar2.types import Group, Problem
from rstar2.verbs.output_file import check_writable


def score(
    config: RunConfig,
    problems: Sequence[Problem],
    *,
    ks: Sequence[int],
    out: Path | None,
    keep: Path | None = None,
) -> dict[str, Any]:
    """Evaluate `model.base`; the result, which is also printed, and written to `out`.

    The rollouts are written to `keep`, which is begun anew, one per line.
    """
    for option, path in (("--out", out), ("--keep", keep)):
        if path is not None:
            check_writable(path, option=option)
    began = time.perf_counter()
    with progress_bar() as watcher:
        groups = asyncio.run(_play(config, problems, watcher, keep))
    result = _result(config, groups, ks) | {"wall_s": time.perf_counter() - began}
    _show(result)
    if out is not None:
        out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        console.print(f"written to {out}", soft_wrap=True)
    return result


def chosen_problems(
    config: RunConfig, data: str | None, *, question_field: str, answer_field: str, limit: int | None
) -> Sequence[Problem]:
    """The first `limit` problems of a data file, or of the config's test set."""
    if data is None:
        return held_out_problems(config.problems, config.evaluation.split, say=show_text)[:limit]
    return load(data, fields=Fields(question=question_field, answer=answer_field)).problems[:limit]


async def _play(
    config: RunConfig, problems: Sequence[Problem], watcher: BarWatcher, keep: Path | None
) -> list[Group]:
    num_rollouts = config.evaluation.rollouts
    watcher.begin("loading", 1)
    async with playing(config) as players:
        watcher.begin("rollouts", len(problems) * num_rollouts)
        groups = await players.collector.collect(
            problems,
            num_rollouts=num_rollouts,
            limits=evaluation_limits(config),
            label="eval",
            on_done=lambda _: watcher.advance(),
        )
        if keep is not None:
            _keep(JsonLines(keep), players.template.tokenizer, groups)
        return groups


def _keep(file: JsonLines, tokenizer: Tokenizer, groups: Sequence[Group]) -> None:
    file.cut_back(0)
    for group in groups:
        for graded in group.rollouts:
            file.append(readable(tokenizer, group.problem, graded))


def _result(config: RunConfig, groups: Sequence[Group], ks: Sequence[int]) -> dict[str, Any]:
    seed = config.run.seed
    estimates = pass_at_ks(groups, ks, seed=seed)
    return {
        "model": config.model.base,
        "seed": seed,
        "settings": config.evaluation.model_dump(mode="json"),
        "num_problems": len(groups),
        "pass_at_k": {str(k): asdict(estimate) for k, estimate in estimates.items()},
        **summarise(groups, seed=seed).as_dict(),
        "pass_at_1_by_task": pass_at_1_by_task(groups),
    }


def _show(result: dict[str, Any]) -> None:
    table = plain_table()
    table.add_column("")
    table.add_column("value", justify="right")
    table.add_column("95% CI", justify="right")
    for k, estimate in result["pass_at_k"].items():
        table.add_row(f"pass@{k}", *_shares(Estimate(**estimate)))
    for task, share in result["pass_at_1_by_task"].items():
        table.add_row(f"  {task}", f"{share:.1%}")
    table.add_row("tool errors", f"{result['tool_error_rate']:.1%}")
    table.add_row("  in right rollouts", f"{result['tool_error_rate_correct']:.1%}")
    recovery = result["recovery_rate"]
    table.add_row("right after a tool error", "no call failed" if recovery is None else f"{recovery:.1%}")
    table.add_row("calls per rollout", f"{result['calls_per_rollout']:.2f}")
    table.add_row("tokens per rollout", f"{result['tokens_per_rollout']:.0f}")
    table.add_row("cut off", f"{result['clip_ratio']:.1%}")
    console.print(table)
    lost = f", {result['num_dropped']} lost" if result["num_dropped"] else ""
    console.print(f"{result['num_problems']} problems, {result['num_rollouts']} rollouts{lost}")


def _shares(estimate: Estimate) -> tuple[str, str]:
    return f"{estimate.value:.1%}", f"{estimate.low:.1%} - {estimate.high:.1%}"
