"""`rstar2 sandbox bench`: how fast, how fair and how right a service is that runs Python."""

import asyncio
import json
import os
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rstar2.console import console, progress_bar
from rstar2.errors import InputError
from rstar2.sandbox import descriptors
from rstar2.sandbox.bench.caller import Caller, FreshInterpreter
from rstar2.sandbox.bench.dialects import DIALECTS
from rstar2.sandbox.bench.mix import MIXES, draw_tasks
from rstar2.sandbox.bench.overhead import KINDS, Overhead, fork_floor_s, overhead
from rstar2.sandbox.bench.subject import Callers, Subject, by_place, opened
from rstar2.sandbox.bench.tree import ProcessTree
from rstar2.sandbox.bench.trial import Load, SecondClient, Trial, run_trial
from rstar2.verbs.bench_tables import overhead_cells, overhead_table, show_trial
from rstar2.verbs.output_file import check_writable

BASELINE = "fresh interpreter"

_MOST_CONNECTIONS = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchPlan:
    """What to measure."""

    subject: Subject
    apis: Sequence[str]
    loads: Sequence[Load]
    num_calls: int
    mix: str = "default"
    seed: int = 0
    deadline_s: float = 900.0
    second_client_per_s: float | None = None
    num_baseline_calls: int = 0
    with_memory: bool = False

    def check(self) -> None:
        if self.mix not in MIXES:
            raise InputError(f"there is no mix '{self.mix}': take one of {', '.join(MIXES)}")
        most = max(load.in_flight for load in self.loads)
        for api in self.apis:
            if api in DIALECTS and most // DIALECTS[api].batch_size > _MOST_CONNECTIONS:
                raise InputError(f"'{api}' would need a connection per call: take an API with batches")


def loads(in_flight: str, *, rate_per_s: float | None) -> list[Load]:
    """Of the numbers in the text, separated by commas; or the one load of this rate."""
    if rate_per_s is not None:
        return [Load(rate_per_s=rate_per_s)]
    numbers = [number.strip() for number in in_flight.split(",")]
    if not all(number.isdecimal() and int(number) for number in numbers):
        raise InputError(f"'{in_flight}' should be numbers from 1 on with commas between, such as 32,256")
    return [Load(in_flight=int(number)) for number in numbers]


def bench(plan: BenchPlan, *, out: Path | None) -> bool:
    """Measure, print, write to `out` as JSON; whether every call was answered right."""
    _check(plan, out)
    descriptors.allow_many()  # one for each call in flight
    trials = asyncio.run(_trials(plan))
    _write(out, [{"api": api} | asdict(trial) for api, trial in trials])
    return all(trial.is_flawless for _, trial in trials)


def bench_overhead(plan: BenchPlan, *, out: Path | None) -> None:
    """Measure, print and write what a call costs beyond its program, by kind."""
    _check(plan, out)
    floor_s = fork_floor_s(plan.num_calls)
    console.print(f"fork, exit and wait of an equally warm interpreter: {floor_s * 1000:.2f} ms CPU")
    costs = asyncio.run(_overheads(plan, floor_s))
    _write(out, [{"api": api, "fork_floor_s": floor_s} | asdict(cost) for api, cost in costs])


async def _trials(plan: BenchPlan) -> list[tuple[str, Trial]]:
    trials = []
    for in_process, apis in by_place(plan.apis):
        async with opened(plan.subject, in_process=in_process) as callers:
            for api in apis:
                caller = await callers.open(api, client="bench", deadline_s=plan.deadline_s)
                second = await _second_client(plan, callers)
                for load in plan.loads:
                    trial = await _run(plan, api, caller, load, tree=callers.tree, second=second)
                    trials.append((api, trial))
    if plan.num_baseline_calls:
        trials.append((BASELINE, await _baseline(plan, max(trial.calls_per_s for _, trial in trials))))
    return trials


async def _second_client(plan: BenchPlan, callers: Callers) -> SecondClient | None:
    if plan.second_client_per_s is None:
        return None
    caller = await callers.open("native", client="second", deadline_s=plan.deadline_s)
    return SecondClient(caller=caller, rate_per_s=plan.second_client_per_s)


async def _baseline(plan: BenchPlan, best_per_s: float) -> Trial:
    """What one would do without a service, on all cores."""
    load = Load(in_flight=os.cpu_count() or 1)
    trial = await _run(plan, BASELINE, FreshInterpreter(), load, num_calls=plan.num_baseline_calls)
    ratio = best_per_s / trial.calls_per_s
    console.print(f"{ratio:.1f} times as many calls/s as with a fresh interpreter per call")
    return trial


async def _run(
    plan: BenchPlan,
    api: str,
    caller: Caller,
    load: Load,
    *,
    num_calls: int | None = None,
    tree: ProcessTree | None = None,
    second: SecondClient | None = None,
) -> Trial:
    rng = random.Random(plan.seed)
    tasks = draw_tasks(num_calls or plan.num_calls, MIXES[plan.mix], rng)
    with progress_bar() as watcher:
        watcher.begin(f"{api}, {load}", len(tasks))
        trial = await run_trial(
            caller,
            tasks,
            load,
            rng=rng,
            tree=tree,
            with_memory=plan.with_memory,
            second=second,
            on_record=lambda record: watcher.advance(),
        )
    show_trial(api, trial)
    return trial


async def _overheads(plan: BenchPlan, floor_s: float) -> list[tuple[str, Overhead]]:
    costs = []
    in_flight = plan.loads[0].in_flight
    for in_process, apis in by_place(plan.apis):
        async with opened(plan.subject, in_process=in_process) as callers:
            if callers.tree is None:
                raise InputError("overhead is CPU time of the service's processes: give its --pid")
            for api in apis:
                caller = await callers.open(api, client="bench", deadline_s=plan.deadline_s)
                table = overhead_table()
                for kind in KINDS:
                    cost = await overhead(
                        caller, callers.tree, kind, num_calls=plan.num_calls, in_flight=in_flight
                    )
                    costs.append((api, cost))
                    table.add_row(*overhead_cells(cost, floor_s))
                console.print(f"\n{api}, {in_flight} in flight", style="bold")
                console.print(table)
    return costs


def _check(plan: BenchPlan, out: Path | None) -> None:
    plan.check()
    if out is not None:
        check_writable(out, option="--json")


def _write(out: Path | None, records: list[dict[str, object]]) -> None:
    if out is not None:
        out.write_text(json.dumps(records, indent=1) + "\n", encoding="utf-8")
