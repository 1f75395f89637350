"""Answer verification as jobs of the warm sandbox, against one fresh process per check.

`python benchmarks/verification.py` grades 5,000 answers by math-verify, a few of which hang it or blow it up.
The verdict of each is known beforehand and compared. One fresh process per check is timed on a sample of the
answers that end and scaled to all of those; the hanging ones would cost it their time limit as well.
"""

import argparse
import asyncio
import os
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from rstar2.errors import InfrastructureError
from rstar2.rewards.outcome import OutcomeGrader
from rstar2.rewards.verifier import Verdict, equality_program, verdict_of
from rstar2.sandbox import WorkerPool
from rstar2.sandbox.bench.caller import FreshInterpreter

Item = TypeVar("Item")
Result = TypeVar("Result")

_NUM_CORES = os.cpu_count() or 1
_HANGING = (
    "9^{9^{9^{9}}} + %d",
    r"\binom{10^9}{5 \cdot 10^8 + %d}",
    "10^{10^{10}} + %d",
    r"(10^7 + %d)!",
    r"\prod_{k=1}^{10^{9}} (k + %d)",
)


@dataclass(frozen=True)
class Check:
    """An answer with the verdict that it must get."""

    label: str
    answer: str
    verdict: Verdict


def ordinary_check(rng: random.Random) -> Check:
    """A right or a wrong answer that is no plain integer, so that math-verify has to look at it."""
    n, m = rng.randrange(2, 1000), rng.randrange(2, 50)
    right = (
        (f"{n}", f"{n}.0"),
        (f"{n}", rf"\frac{{{n * m}}}{{{m}}}"),
        (f"{n}", rf"{n} \text{{ cm}}"),
        (f"{n * n}", f"{n}^2"),
        (rf"\frac{{{n}}}{{8}}", f"{n / 8}"),
        (rf"{m}\sqrt{{3}}", rf"\sqrt{{{3 * m * m}}}"),
    )
    wrong = (
        (f"{n}", f"{n}.5"),
        (rf"\frac{{{n}}}{{8}}", f"{n} or {n + 1}"),
        (rf"\frac{{{n}}}{{8}}", r"\text{I do not know}"),
        (rf"\frac{{{n}}}{{8}}", rf"\frac{{{n}}}{{9}}"),
        (rf"{m}\sqrt{{3}}", rf"{m + 1}\sqrt{{3}}"),
    )
    if rng.random() < 0.5:
        return Check(*rng.choice(right), Verdict.EQUAL)
    return Check(*rng.choice(wrong), Verdict.DIFFERENT)


def hanging_check(number: int) -> Check:
    return Check(rf"\sqrt{{{number}}}", _HANGING[number % len(_HANGING)] % number, Verdict.UNDECIDED)


async def timed(
    run: Callable[[Item], Awaitable[Result]], items: Sequence[Item], *, at_once: int
) -> tuple[float, list[Result]]:
    """Wall seconds for all of them, and what they gave, in order."""
    permits = asyncio.Semaphore(at_once)

    async def one(item: Item) -> Result:
        async with permits:
            return await run(item)

    started_s = time.perf_counter()
    results = await asyncio.gather(*map(one, items))
    return time.perf_counter() - started_s, results


async def in_fresh_process(check: Check) -> Verdict:
    program = equality_program(check.label, check.answer, time_limit_s=60.0)
    (result,) = await FreshInterpreter().call([program])
    return verdict_of(result)


def report(name: str, checks: Sequence[Check], verdicts: Iterable[Verdict | None], wall_s: float) -> None:
    counts = Counter(
        "no verdict" if found is None else "as expected" if found is check.verdict else f"wrongly {found}"
        for check, found in zip(checks, verdicts, strict=True)
    )
    print(f"{name}: {wall_s:.1f} s, {wall_s / len(checks) * 1000:.1f} ms a check; {dict(counts)}", flush=True)


async def compare(options: argparse.Namespace) -> None:
    rng = random.Random(options.seed)
    ordinary = [ordinary_check(rng) for _ in range(options.checks - options.hanging)]
    sample = rng.sample(ordinary, options.sample)
    fresh_s, verdicts = await timed(in_fresh_process, sample, at_once=_NUM_CORES)
    report(f"fresh processes, {_NUM_CORES} at a time, a sample of {len(sample)}", sample, verdicts, fresh_s)

    checks = [*ordinary, *(hanging_check(number) for number in range(options.hanging))]
    rng.shuffle(checks)
    async with WorkerPool(num_workers=options.workers) as sandbox:
        grader = OutcomeGrader(sandbox, time_limit_s=options.time_limit_s)

        async def in_sandbox(check: Check) -> Verdict | None:
            try:
                return await grader.verdict(check.label, check.answer)
            except InfrastructureError as error:
                print(error)
                return None

        warm_s, found = await timed(in_sandbox, checks, at_once=sandbox.num_workers)
    report(f"warm sandbox, {sandbox.num_workers} slots", checks, found, warm_s)
    all_fresh_s = fresh_s / len(sample) * len(ordinary) + options.hanging * options.time_limit_s / _NUM_CORES
    print(f"fresh processes would take {all_fresh_s:.0f} s for all: {all_fresh_s / warm_s:.1f} times as long")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--checks", type=int, default=5000)
    parser.add_argument("--hanging", type=int, default=10, help="how many of them hang the verifier")
    parser.add_argument("--time-limit-s", type=float, default=10.0)
    parser.add_argument("--workers", type=int, default=None)
    parser.add_argument("--sample", type=int, default=40, help="checks of the fresh processes")
    parser.add_argument("--seed", type=int, default=0)
    asyncio.run(compare(parser.parse_args()))


if __name__ == "__main__":
    main()
