"""`rstar2 simulate`: every policy on every workload of a scenario, as a table and a picture."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from rich.progress import Progress
from rich.table import Table

from rstar2.console import console, plain_table
from rstar2.errors import ConfigError
from rstar2.rollout.placement.catalog import DEFAULT_POLICY
from rstar2.rollout.simulation.outcome import Outcome
from rstar2.rollout.simulation.picture import occupancy_svg
from rstar2.rollout.simulation.scenario import Scenario, WorkloadSection
from rstar2.rollout.simulation.traces import read_traces
from rstar2.rollout.workload import RolloutTrace, draw_step
from rstar2.verbs.output_file import check_writable


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Rollouts to be played by every policy, and those that were played before."""

    name: str
    """Of the workload; cases of one name are draws of the same, and averaged."""
    seed: int
    traces: tuple[RolloutTrace, ...]
    earlier: tuple[RolloutTrace, ...]
    bound_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One line of the table."""

    case: Case
    policy: str
    outcome: Outcome

    @property
    def excess(self) -> float:
        """Over the lower bound, as a share of it."""
        return self.outcome.makespan_s / self.case.bound_s - 1


def simulate(scenario: Scenario, *, trace: Path | None = None, picture: Path | None = None) -> None:
    """Print the table; with `picture`, draw the last case."""
    if trace is None and not scenario.workloads:
        raise ConfigError("the scenario has no workloads: add a [[workloads]] table, or give --trace")
    if picture is not None:
        check_writable(picture, option="--picture")
    recorded = None if trace is None else read_traces(trace)
    cases = drawn_cases(scenario) if recorded is None else iter((recorded_case(scenario, recorded),))
    num_cases = 1 if recorded is not None else len(scenario.workloads) * len(scenario.seeds)
    results: list[Result] = []
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("simulate", total=num_cases * len(scenario.policies))
        for case in cases:
            for policy in scenario.policies:
                results.append(play(scenario, case, policy))
                progress.advance(task)
    cluster = scenario.cluster
    console.print(
        f"engines: {cluster.num_engines} of {cluster.devices_per_engine} x {cluster.accelerator}, "
        f"{cluster.model}, room for {cluster.kv_tokens} tokens each",
        soft_wrap=True,
    )
    for rows in by_workload(results).values():
        console.print(results_table(scenario, rows))
        console.print()
    if DEFAULT_POLICY in scenario.policies:
        console.print(gains_table(results))
    if picture is not None:
        draw(scenario, results, picture)


def drawn_cases(scenario: Scenario) -> Iterator[Case]:
    for section in scenario.workloads:
        for seed in scenario.seeds:
            workload = section.workload
            traces = draw_step(workload, seed=seed)
            yield Case(
                name=workload_name(section, scenario.workloads),
                seed=seed,
                traces=traces,
                earlier=scenario.earlier_step(workload, seed),
                bound_s=scenario.bound_s(traces),
            )


def workload_name(section: WorkloadSection, workloads: Sequence[WorkloadSection]) -> str:
    """The stage; where several workloads are of it, also the settings in which these differ."""
    rivals = [other for other in workloads if other.stage == section.stage]
    differing = [f"{key} {value}" for key, value in section if any(getattr(r, key) != value for r in rivals)]
    return ", ".join([section.stage, *differing])


def recorded_case(scenario: Scenario, traces: tuple[RolloutTrace, ...]) -> Case:
    """What a run really did; nothing is known of the step before it."""
    return Case(
        name=f"{len(traces)} recorded rollouts",
        seed=0,
        traces=traces,
        earlier=(),
        bound_s=scenario.bound_s(traces),
    )


def play(scenario: Scenario, case: Case, policy: str) -> Result:
    outcome = scenario.play(scenario.policy(policy, case.earlier), case.traces)
    return Result(case=case, policy=policy, outcome=outcome)


def results_table(scenario: Scenario, results: Sequence[Result]) -> Table:
    """One line per policy; means over the seeds of one workload."""
    table = plain_table()
    table.add_column(results[0].case.name)
    for title in ("seconds", "/ bound", "busy", "KV", "tail s", "evicted M", "again M"):
        table.add_column(title, justify="right")
    for policy, rows in _by_policy(results).items():
        outcomes = [row.outcome for row in rows]
        table.add_row(
            policy,
            f"{fmean(outcome.makespan_s for outcome in outcomes):.1f}",
            f"{1 + fmean(row.excess for row in rows):.3f}",
            f"{fmean(outcome.mean_busy_share for outcome in outcomes):.0%}",
            f"{fmean(outcome.mean_kv_share(scenario.cluster.kv_tokens) for outcome in outcomes):.0%}",
            f"{fmean(outcome.tail_s for outcome in outcomes):.0f}",
            f"{fmean(outcome.evicted_tokens / 1e6 for outcome in outcomes):.2f}",
            f"{fmean(outcome.recomputed_tokens / 1e6 for outcome in outcomes):.2f}",
            style="bold" if policy == DEFAULT_POLICY else None,
        )
    return table


def gains_table(results: Sequence[Result]) -> Table:
    """How much longer each policy takes than the default one; the range, where there are several seeds."""
    table = plain_table()
    names = list(dict.fromkeys(result.case.name for result in results))
    table.add_column(f"time / {DEFAULT_POLICY}")
    for name in names:
        table.add_column(name, justify="right")
    spans_s = {(row.policy, row.case.name, row.case.seed): row.outcome.makespan_s for row in results}
    for policy in dict.fromkeys(row.policy for row in results if row.policy != DEFAULT_POLICY):
        cells = []
        for name in names:
            seeds = [seed for other, case, seed in spans_s if (other, case) == (policy, name)]
            ratios = [spans_s[policy, name, seed] / spans_s[DEFAULT_POLICY, name, seed] for seed in seeds]
            spread = f" ({min(ratios):.2f}-{max(ratios):.2f})" if len(ratios) > 1 else ""
            cells.append(f"{fmean(ratios):.2f}{spread}")
        table.add_row(policy, *cells)
    return table


def draw(scenario: Scenario, results: Sequence[Result], path: Path) -> None:
    """The last case, a panel per policy."""
    case = results[-1].case
    cluster = scenario.cluster
    path.write_text(
        occupancy_svg(
            {result.policy: result.outcome for result in results if result.case is case},
            kv_tokens=cluster.kv_tokens,
            bound_s=case.bound_s,
            title=f"{len(case.traces)} rollouts ({case.name}), {cluster.num_engines} engines of "
            f"{cluster.devices_per_engine} x {cluster.accelerator}, {cluster.model}",
        ),
        encoding="utf-8",
    )
    console.print(f"picture: {path}")


def by_workload(results: Sequence[Result]) -> Mapping[str, list[Result]]:
    grouped: dict[str, list[Result]] = {}
    for result in results:
        grouped.setdefault(result.case.name, []).append(result)
    return grouped


def _by_policy(results: Sequence[Result]) -> Mapping[str, list[Result]]:
    grouped: dict[str, list[Result]] = {}
    for result in results:
        grouped.setdefault(result.policy, []).append(result)
    return grouped
