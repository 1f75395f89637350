"""Problems become complete groups of graded rollouts; nothing is lost without being counted.

Every rollout is started at once and waits in the dispatcher for KV room; each is graded the moment it
ends. A rollout that the infrastructure failed after retries is dropped from its group and counted; it
never becomes a reward of 0. Whatever ends a collection, none of its rollouts plays on.
"""

import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial

from rstar2.errors import InfrastructureError
from rstar2.ports import Grader, Toolbox
from rstar2.protocol.template import Template
from rstar2.rollout.agent import RolloutLimits, run_rollout
from rstar2.rollout.dispatcher import Dispatcher
from rstar2.rollout.pacing import Pacer
from rstar2.rollout.together import together
from rstar2.telemetry import Activity, Work
from rstar2.types import (
    Generation,
    GenerationRequest,
    GradedRollout,
    Group,
    Problem,
    Rollout,
    ToolCall,
    ToolResult,
)

log = logging.getLogger(__name__)

OnDone = Callable[[GradedRollout | None], None]


class Collector:
    """Plays and grades whole groups."""

    def __init__(
        self,
        *,
        template: Template,
        dispatcher: Dispatcher,
        tools: Toolbox,
        grader: Grader,
        pacer: Pacer,
        run_seed: int,
        max_tries: int = 3,
    ) -> None:
        self._template = template
        self._dispatcher = dispatcher
        self._tools = tools
        self._grader = grader
        self._pacer = pacer
        self._run_seed = run_seed
        self._max_tries = max_tries
        self._last_failure = ""
        self.activity = Activity()
        """Turns, tool calls and gradings under way; whoever drives the run adds its own work."""
        self.num_retries = 0
        """Tool calls that were tried again because the world failed them."""

    async def collect(
        self,
        problems: Sequence[Problem],
        *,
        num_rollouts: int,
        limits: RolloutLimits,
        label: str,
        on_done: OnDone = lambda _: None,
    ) -> list[Group]:
        """One group of `num_rollouts` per problem, in the given order; InfrastructureError if all were lost.

        `label` names the occasion (stage and step, or evaluation): with the run's seed, the problem and
        the index it fixes every random draw of a rollout. A problem may come twice, as a small set does
        where an epoch ends: its later groups are occasions of their own.
        """
        counts = Counter[str]()
        labels = []
        for problem in problems:
            labels.append(f"{label}/{counts[problem.id]}" if problem.id in counts else label)
            counts[problem.id] += 1
        groups = await together(
            self.collect_group(
                problem, num_rollouts=num_rollouts, limits=limits, label=own_label, on_done=on_done
            )
            for problem, own_label in zip(problems, labels, strict=True)
        )
        if problems and not any(group.rollouts for group in groups):
            raise self.all_lost(label)
        return groups

    async def collect_group(
        self,
        problem: Problem,
        *,
        num_rollouts: int,
        limits: RolloutLimits,
        label: str,
        on_done: OnDone = lambda _: None,
    ) -> Group:
        """The group of one problem of many; it may come to nothing, which matters only if all do."""
        ended = await together(self._play(problem, i, limits, label, on_done) for i in range(num_rollouts))
        kept = tuple(r for r in ended if r is not None)
        return Group(problem=problem, rollouts=kept, num_dropped=num_rollouts - len(kept))

    def all_lost(self, label: str) -> InfrastructureError:
        """What to raise when nothing came of an occasion."""
        return InfrastructureError(
            f"every rollout of {label} was lost, the last one because: {self._last_failure}; "
            "mend that and give the same command again, which goes on from what was kept"
        )

    async def _play(
        self, problem: Problem, index: int, limits: RolloutLimits, label: str, on_done: OnDone
    ) -> GradedRollout | None:
        rollout_id = f"{label}/{problem.id}/{index}"
        graded = None
        try:
            rollout = await self._roll(problem, index, limits, rollout_id)
            graded = GradedRollout(rollout=rollout, reward=await self._grade(problem, rollout))
        except InfrastructureError as error:
            self._last_failure = f"{error}" + (f" ({error.__cause__!r})" if error.__cause__ else "")
            log.debug("rollout %s is dropped: %s", rollout_id, self._last_failure)
        on_done(graded)
        return graded

    async def _roll(self, problem: Problem, index: int, limits: RolloutLimits, rollout_id: str) -> Rollout:
        is_complete = False
        try:
            rollout = await run_rollout(
                problem,
                index=index,
                rollout_id=rollout_id,
                seed=rollout_seed(self._run_seed, rollout_id),
                template=self._template,
                limits=limits,
                generate=self._generate,
                call_tool=partial(self.call_tool, rollout_id),
                parse=self._tools.parse,
            )
            is_complete = True
            return rollout
        finally:
            self._dispatcher.release(rollout_id, is_complete=is_complete)
            await self._tools.end(rollout_id)

    async def _generate(self, request: GenerationRequest) -> Generation:
        with self.activity.span(Work.GENERATION):
            return await self._dispatcher.generate(request)

    async def _grade(self, problem: Problem, rollout: Rollout) -> float:
        with self.activity.span(Work.REWARD):
            return await self._grader.grade(problem, rollout)

    async def call_tool(self, rollout_id: str, call: ToolCall) -> ToolResult:
        return await self._pacer.deliver(self._try_call(rollout_id, call))

    async def _try_call(self, rollout_id: str, call: ToolCall) -> ToolResult:
        for attempt in range(1, self._max_tries + 1):
            try:
                with self.activity.span(Work.TOOLS):
                    return await self._tools.call(rollout_id, call)
            except InfrastructureError:
                if attempt == self._max_tries:
                    raise
                self.num_retries += 1
        raise AssertionError("the loop returns or raises")


def rollout_seed(run_seed: int, rollout_id: str) -> int:
    """63 bits from the run's seed and the rollout's name; stable over processes and versions."""
    digest = hashlib.blake2b(f"{run_seed}/{rollout_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1
