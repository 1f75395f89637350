"""Plays what is still missing of a benchmark, and keeps every problem's transcripts the moment it is done."""

from collections.abc import Callable, Sequence

from rstar2.evaluation.attempts import Record
from rstar2.evaluation.transcripts import Transcripts
from rstar2.ports import Tokenizer
from rstar2.rollout.agent import RolloutLimits
from rstar2.rollout.collector import Collector
from rstar2.rollout.together import together
from rstar2.rollout.transcript import readable
from rstar2.types import Group, Problem

Advance = Callable[[], None]
"""Told of every rollout that is done."""


async def play_benchmark(
    problems: Sequence[Problem],
    *,
    num_rollouts: int,
    limits: RolloutLimits,
    collector: Collector,
    tokenizer: Tokenizer,
    transcripts: Transcripts,
    advance: Advance,
) -> list[list[Record]]:
    """The records of all problems, in order: of one that lost rollouts those that are left, perhaps none.

    InfrastructureError if there is not one in all.
    What a rollout draws depends on the run's seed, its problem and its index, so those that were played
    before an interruption and those after are the ones that would have been played without.
    """

    async def of_problem(number: int, problem: Problem) -> list[Record]:
        records = transcripts.records(number, problem)
        if records is not None:
            for _ in records:
                advance()
            return records
        group = await collector.collect_group(
            problem,
            num_rollouts=num_rollouts,
            limits=limits,
            label="benchmark",
            on_done=lambda _: advance(),
        )
        records = _records(tokenizer, group)
        if not group.num_dropped:  # else the next start tries again
            transcripts.keep(number, problem, records)
        return records

    # All have ended before the engines close: what those leave unfinished must not be taken for lost.
    records_P = await together(of_problem(number, problem) for number, problem in enumerate(problems))
    if problems and not any(records_P):
        raise collector.all_lost("benchmark")
    return records_P


def _records(tokenizer: Tokenizer, group: Group) -> list[Record]:
    return [readable(tokenizer, group.problem, graded) for graded in group.rollouts]
