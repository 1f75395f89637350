"""Every placement policy on the paper's three stages, on paper: `python benchmarks/scheduler.py`.

Prints the table of seconds per policy, beside them a clairvoyant that no run can have; where an engine's
time goes; what each policy loses to the default one; what a decision of the default policy costs at 64
engines with all 16,384 rollouts known to it, and how fast the simulation is.
"""

import argparse
import os
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from statistics import fmean

from rich.progress import Progress
from rich.table import Table

from rstar2.console import console, plain_table
from rstar2.rollout.placement.catalog import DEFAULT_POLICY
from rstar2.rollout.placement.policy import Order, Policy, Ready
from rstar2.rollout.simulation.clairvoyant import Clairvoyant
from rstar2.rollout.simulation.cluster import rollout_ids
from rstar2.rollout.simulation.outcome import Outcome
from rstar2.rollout.simulation.scenario import ClusterSection, Scenario, load_scenario
from rstar2.rollout.workload import PAPER_STAGES, draw_step
from rstar2.types import EngineLoad
from rstar2.verbs.simulate import (
    Case,
    Result,
    by_workload,
    drawn_cases,
    gains_table,
    play,
    results_table,
    workload_name,
)


class Timed:
    """A policy that counts what it takes; the making of loads, which an engine does, is left out."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self.total_s = 0.0
        self.num_orders = 0
        self.decisions_s: list[float] = []

    def ready(self, rollout: Ready) -> None:
        begin = time.perf_counter()
        self._policy.ready(rollout)
        self.total_s += time.perf_counter() - begin

    def turn_ended(self, rollout_id: str, num_tokens: int) -> None:
        begin = time.perf_counter()
        self._policy.turn_ended(rollout_id, num_tokens)
        self.total_s += time.perf_counter() - begin

    def ended(self, rollout_id: str, num_tokens: int, *, is_complete: bool) -> None:
        begin = time.perf_counter()
        self._policy.ended(rollout_id, num_tokens, is_complete=is_complete)
        self.total_s += time.perf_counter() - begin

    def engine_lost(self, engine: int) -> None:
        self._policy.engine_lost(engine)

    def decide(self, loads: Sequence[EngineLoad]) -> list[Order]:
        begin = time.perf_counter()
        orders = self._policy.decide(loads)
        spent_s = time.perf_counter() - begin
        self.total_s += spent_s
        self.decisions_s.append(spent_s)
        self.num_orders += len(orders)
        return orders


def main() -> None:
    arguments = _arguments()
    scenario = load_scenario(arguments.scenario)
    scenario = scenario.model_copy(
        update={
            "seeds": tuple(range(1, arguments.seeds + 1)),
            "policies": tuple(arguments.policies or scenario.policies),
            "is_later_epoch": arguments.later_epoch,
        }
    )
    results = _results(scenario)
    for rows in by_workload(results).values():
        console.print(results_table(scenario, rows))
        console.print()
        console.print(spent_table(scenario.cluster, rows))
        console.print()
    console.print(gains_table(results))
    for policy in dict.fromkeys(row.policy for row in results):
        rows = [row for row in results if row.policy == policy]
        worst = max(row.excess for row in rows)
        evicted = sum(row.outcome.evicted_tokens for row in rows)
        console.print(f"{policy}: at most {worst:.1%} over the bound, {evicted} tokens evicted")
    decision_cost(scenario)


def _results(scenario: Scenario) -> list[Result]:
    """Of all cases, as many at a time as there are cores; each is said when it has been played."""
    every = scenario.workloads
    names = [workload_name(workload, every) for workload in every for _ in scenario.seeds]
    parts = [
        scenario.model_copy(update={"workloads": (workload,), "seeds": (seed,)})
        for workload in every
        for seed in scenario.seeds
    ]
    results: list[Result] = []
    with ProcessPoolExecutor(max_workers=os.cpu_count()) as pool, Progress(console=console) as progress:
        for rows in progress.track(pool.map(_played, names, parts), total=len(parts), description="play"):
            results += rows
            case = rows[0].case
            told = ", ".join(f"{row.policy} {row.outcome.makespan_s:.0f}" for row in rows)
            progress.console.print(f"{case.name}, seed {case.seed}, bound {case.bound_s:.0f} s: {told}")
    return results


def _played(name: str, scenario: Scenario) -> list[Result]:
    """In a process of its own; without the rollouts, of which there are many."""
    [case] = drawn_cases(scenario)
    results = [play(scenario, case, policy) for policy in scenario.policies]
    told = replace(case, name=name, traces=(), earlier=())
    return [replace(result, case=told) for result in [*results, foreseen(scenario, case)]]


def foreseen(scenario: Scenario, case: Case) -> Result:
    """What a policy reaches that knows all lengths: the gap to the default one is what not knowing costs."""
    lengths = [trace.response_tokens for trace in case.traces]
    policy = Clairvoyant(
        scenario.cluster.num_engines, dict(zip(rollout_ids(case.traces), lengths, strict=True))
    )
    return Result(case=case, policy="clairvoyant", outcome=scenario.play(policy, case.traces))


def spent_table(cluster: ClusterSection, results: Sequence[Result]) -> Table:
    """Where the seconds of an engine go, on average: the parts of each line add up to its makespan."""
    table = plain_table()
    table.add_column(f"{results[0].case.name}, s per engine")
    for title in ("steps", "reads", "other", "idle", "number of steps"):
        table.add_column(title, justify="right")
    for policy in dict.fromkeys(row.policy for row in results):
        parts = [spent(cluster, row.outcome) for row in results if row.policy == policy]
        *seconds, num_steps = (fmean(values) for values in zip(*parts, strict=True))
        table.add_row(policy, *(f"{part_s:.1f}" for part_s in seconds), f"{num_steps:.0f}")
    return table


def spent(cluster: ClusterSection, outcome: Outcome) -> tuple[float, float, float, float, float]:
    """Seconds of a mean engine: what its steps cost whatever they hold; reading keys and values; what prefill
    and multiplying add to these; idle. Then how many steps it took."""
    times = cluster.times
    num_steps = fmean(engine.num_steps for engine in outcome.engines)
    steps_s = num_steps * (times.overhead_s + times.weights_s)
    reads_s = times.kv_s * fmean(engine.read_tokens for engine in outcome.engines)
    busy_s = fmean(engine.busy_s for engine in outcome.engines)
    return steps_s, reads_s, busy_s - steps_s - reads_s, outcome.makespan_s - busy_s, num_steps


def decision_cost(scenario: Scenario) -> None:
    """At 64 engines, one device each, in the stage in which most rollouts wait longest."""
    cluster = ClusterSection(model=scenario.cluster.model, accelerator="mi300x", num_devices=64)
    wide = Scenario(cluster=cluster)
    workload = PAPER_STAGES[-1].last
    traces = draw_step(workload, seed=1)
    policy = Timed(wide.policy(DEFAULT_POLICY, wide.earlier_step(workload, 1)))
    begin = time.perf_counter()
    wide.play(policy, traces)
    whole_s = time.perf_counter() - begin
    num_decisions = len(policy.decisions_s)
    middle = sorted(policy.decisions_s)[num_decisions // 2]
    console.print(
        f"{len(traces)} rollouts on 64 engines simulated in {whole_s:.1f} s; {num_decisions} decisions, "
        f"{policy.num_orders} placements: median {1e6 * middle:.0f} us a decision, "
        f"{1e6 * policy.total_s / policy.num_orders:.0f} us a placement with all events of its turn",
        soft_wrap=True,
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenario", type=Path, default=Path("configs/simulate-64xmi300x.toml"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--policies", nargs="*", help="instead of the scenario's")
    parser.add_argument("--later-epoch", action="store_true", help="problems were met before")
    return parser.parse_args()


if __name__ == "__main__":
    main()
