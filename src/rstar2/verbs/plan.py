"""`rstar2 plan`: whether a config fits its machines, how long it takes, and what to change first."""

from collections.abc import Iterable, Iterator, Sequence
from io import StringIO

from rich.console import Console
from rich.table import Table

from rstar2.config import RunConfig
from rstar2.console import console, plain_table
from rstar2.errors import ConfigError
from rstar2.planning.advice import Advice, first_change
from rstar2.planning.plan import Plan, make_plan
from rstar2.planning.policy import policy_shape


def show_plan(config: RunConfig) -> bool:
    """Print the plan; whether it fits."""
    return _print_plan(config, console)


def plan_as_comment(config: RunConfig) -> str:
    """The same as comment lines, to go with a config; one line that says why, if there can be no plan."""
    printed = Console(file=StringIO(), width=80, highlight=False, markup=False, emoji=False)
    try:
        _print_plan(config, printed)
    except ConfigError as error:
        return f"# There is no plan: {error}\n"
    assert isinstance(printed.file, StringIO)
    lines = printed.file.getvalue().splitlines()
    return "".join(f"# {line}".rstrip() + "\n" for line in lines)


def _print_plan(config: RunConfig, where: Console) -> bool:
    model = policy_shape(config.model)
    plan = make_plan(config, model)
    cluster, engine = config.cluster, config.engine
    where.print(f"{model.name}, {_count(model.num_parameters)} parameters", soft_wrap=True)
    where.print(
        f"{cluster.num_accelerators} x {cluster.accelerator}; {engine.num_engines} x engine on "
        f"{cluster.accelerators_per_engine}, {_count(engine.kv_tokens)} KV tokens "
        f"(room for {_count(plan.memory.kv_room_tokens)})\n",
        soft_wrap=True,
    )
    for table in (memory_table(plan), rollouts_table(plan), time_table(plan)):
        where.print(table)
        where.print()
    where.print(verdict(plan, first_change(config, model, plan)), style="" if plan.fits else "red")
    if unknown := [stage.name for stage in plan.stages if stage.probing_s is None]:
        where.print(
            f"Not counted: trying all problems for mastery before {', '.join(unknown)}. How many they are, "
            "problems.num_train may say."
        )
    return plan.fits


def memory_table(plan: Plan) -> Table:
    """One column per phase."""
    budgets = [budget for _, budget in plan.memory.budgets]
    columns = [dict(budget.items) for budget in budgets]
    unit = ("GB", 1e9) if max(budget.needed_bytes for budget in budgets) >= 1e9 else ("MB", 1e6)

    def cells(sizes: Iterable[float | None]) -> Iterator[str]:
        return ("" if size is None else f"{size / unit[1]:,.1f}" for size in sizes)

    table = _table(f"memory, {unit[0]} per accelerator", [phase for phase, _ in plan.memory.budgets])
    for name in dict.fromkeys(name for column in columns for name in column):
        table.add_row(name, *cells(column.get(name) for column in columns))
    table.add_section()
    table.add_row("needed", *cells(budget.needed_bytes for budget in budgets))
    table.add_row("available", *cells(budget.available_bytes for budget in budgets))
    table.add_row("", *("fits" if budget.fits else "TOO MUCH" for budget in budgets))
    return table


def rollouts_table(plan: Plan) -> Table:
    """One row per stage: lengths, and how many rollouts the KV room holds."""
    table = _table("rollouts", ["steps", "mean tokens", "at a time", "limit", "at a time"])
    for stage in plan.stages:
        numbers = (
            stage.num_steps,
            stage.mean_response_tokens,
            stage.rollouts_at_mean,
            stage.max_response_tokens,
            stage.rollouts_at_limit,
        )
        table.add_row(stage.name, *(f"{number:,.0f}" for number in numbers))
    return table


def time_table(plan: Plan) -> Table:
    """One row per phase: parts of a step, and all of its steps."""
    titles = ["engines", "(tail)", "sandbox", "learner", "weights", "step", "in all"]
    table = _table("seconds per step", titles)
    for name, seconds in plan.supervised_s:
        table.add_row(name, *[""] * (len(titles) - 1), _duration(seconds))
    for stage in plan.stages:
        if stage.probing_s:
            table.add_row(f"{stage.name} probing", *[""] * (len(titles) - 1), _duration(stage.probing_s))
        step = stage.step
        parts = (step.engines_s, step.tail_s, step.sandbox_s, step.learner_s, step.publish_s, step.step_s)
        table.add_row(stage.name, *(_seconds(part) for part in parts), _duration(stage.steps_s))
    return table


def _table(title: str, columns: Sequence[str]) -> Table:
    table = plain_table()
    table.add_column(title)
    for column in columns:
        table.add_column(column, justify="right")
    return table


def verdict(plan: Plan, advice: Advice | None) -> str:
    """One sentence, and one on what to change."""
    if plan.fits:
        first = f"It fits and takes {_duration(plan.total_s)}{_waiting(plan)}."
        if advice is None:
            return f"{first} No setting saves much: more accelerators would."
        saved = 1 - advice.plan.total_s / plan.total_s
        return f"{first} First change: {advice}; it saves {saved:.0%}."
    excess = "; ".join(
        f"{phase} needs {budget.needed_bytes / 1e9:.1f} GB of {budget.available_bytes / 1e9:.1f}"
        for phase, budget in plan.memory.budgets
        if not budget.fits
    )
    first = f"It does not fit: {excess}."
    if advice is None:
        return f"{first} No setting helps: take more or larger accelerators, or a smaller model."
    return f"{first} Set {advice}; it then takes {_duration(advice.plan.total_s)}."


def _waiting(plan: Plan) -> str:
    """What most of the RL time is spent on."""
    if not plan.stages:
        return ""
    spent: dict[str, float] = {}
    for stage in plan.stages:
        part, seconds = stage.step.longest_part
        spent[part] = spent.get(part, 0.0) + seconds * stage.num_steps
    part = max(spent, key=spent.__getitem__)
    steps_s = sum(stage.steps_s for stage in plan.stages)
    return f", {spent[part] / steps_s:.0%} of RL waiting for the {part}"


def _count(number: float) -> str:
    for unit, size in ((" B", 1e9), (" M", 1e6), (" K", 1e3)):
        if number >= size:
            return f"{number / size:.3g}{unit}"
    return f"{number:.0f}"


def _seconds(seconds: float) -> str:
    return f"{seconds:,.0f}" if seconds >= 10 else f"{seconds:.1f}"


def _duration(seconds: float) -> str:
    for unit, size in (("days", 86_400.0), ("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} seconds"
