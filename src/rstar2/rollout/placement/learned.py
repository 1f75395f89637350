"""Reserve what is expected to be needed, learned in this run: the default.

    who      block by block of every group, long groups first (waiting.py)
    where    the engine that would be done first, of those whose room would suffice (forecast.py)
    room     not the longest response per rollout but, for every future step, the sum over the rollouts of
             what each is expected to hold then, plus a few deviations: rollouts do not peak together
    moves    between turns, to an engine that would be done sooner by more than a new prefill costs
    errors   if an engine runs short all the same, its youngest rollouts are stopped, no more than needed,
             and go on from their tokens wherever there is room first

Two engines of the same kind differ only by what was put there, so costs are ratios: everything is counted in
reads of one token's keys and values.
"""

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass

import numpy as np

from rstar2.rollout.placement.forecast import Forecast, Placed
from rstar2.rollout.placement.lengths import Lengths, Outlook
from rstar2.rollout.placement.policy import Order, Ready, Start, Stop
from rstar2.rollout.placement.waiting import WaitingLine
from rstar2.types import EngineLoad

_ROOM_SHARE = 0.97
"""Of an engine's room that may be filled by expectation."""
_DEVIATIONS = 1.0
"""By which the expected need is raised."""
_BLOCK_SIZE = 4
"""Rollouts of a group that start together: three of four prompts are saved, and groups still spread."""
_MARGIN = 0.1
"""Of the time until an engine is done, what a move must gain beyond its cost: forecasts are no better."""
_SPARE_SHARE = 1 / 192
"""Of the longest response: an engine with room for fewer further steps of its rows runs short."""
_LEAST_SPARE_STEPS = 16
"""Some rollout has ended by then, and the policy is asked again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineCosts:
    """What an engine's work costs, in reads of one token's keys and values.

    The defaults are those of Qwen3-14B on two MI300X; they shift with the model and the device, slowly.
    """

    step_reads: float = 380e3
    """Of a step, whatever it holds: weights and overhead."""
    prefill_reads: float = 1250.0
    """Of computing one token anew."""


class LearnedReservation:
    """Places every turn of a run, and learns from step to step."""

    def __init__(
        self, num_engines: int, *, costs: EngineCosts | None = None, lengths: Lengths | None = None
    ) -> None:
        self._num_engines = num_engines
        self._costs = costs or EngineCosts()
        self._lengths = lengths or Lengths()
        self._engines = set(range(num_engines))
        """Those that live."""
        self._room_E = np.zeros(0)
        self._begin_step(max_response_tokens=1)

    # -- events ----------------------------------------------------------------------------------------

    def ready(self, rollout: Ready) -> None:
        if not self._known:
            self._begin_step(max_response_tokens=rollout.max_total_tokens - rollout.prompt_tokens)
        is_new = rollout.rollout_id not in self._known
        self._known[rollout.rollout_id] = rollout
        if rollout.rollout_id in self._engine_of:
            self._returning[rollout.rollout_id] = rollout
            return
        self._untried.update(self._engines)
        if is_new:
            self._line.add(rollout)
        else:
            self._homeless[rollout.rollout_id] = rollout

    def turn_ended(self, rollout_id: str, num_tokens: int) -> None:
        if rollout_id in self._engine_of:
            self._pause(self._placed(rollout_id), num_tokens)

    def ended(self, rollout_id: str, num_tokens: int, *, is_complete: bool) -> None:
        rollout = self._known.pop(rollout_id, None)
        if rollout is None:
            return
        group = self._line.groups[rollout.group_id]
        for queue in (self._returning, self._homeless, group.waiting):
            queue.pop(rollout_id, None)
        old_bin = 0
        if rollout_id in self._engine_of:
            placed = self._placed(rollout_id)
            old_bin = placed.observed_bin
            self._touched.add(self._engine_of[rollout_id])
            self._pause(placed, num_tokens)
            self._leave(placed)
        else:  # its end came before the stop that was to free its room
            self._untried.update(self._engines)
        if is_complete:
            response_tokens = num_tokens - rollout.prompt_tokens
            group.lengths.append(response_tokens)
            self._beliefs.observe_end(group.index, old_bin, response_tokens)
            self._line.rank(group)
        if not self._known:
            lengths_of = {group_id: group.lengths for group_id, group in self._line.groups.items()}
            self._lengths.learn(self._beliefs, lengths_of, self._max_response_tokens)

    def engine_lost(self, engine: int) -> None:
        self._engines.discard(engine)
        self._untried.discard(engine)
        for placed in list(self._forecast.placed[engine].values()):
            self._leave(placed)
            returning = self._returning.pop(placed.rollout_id, None)
            if returning is not None:
                self._untried.update(self._engines)
                self._homeless[placed.rollout_id] = returning
        self._forecast.ends_E[engine] = np.inf

    def engine_returned(self, engine: int) -> None:
        self._engines.add(engine)
        self._untried.add(engine)
        self._forecast.ends_E[engine] = 0.0

    # -- decisions -------------------------------------------------------------------------------------

    def decide(self, loads: Sequence[EngineLoad]) -> list[Order]:
        if not len(self._room_E):
            self._room_E = _ROOM_SHARE * np.array([load.kv_tokens_total for load in loads])
        self._line.close_wave()
        orders: list[Order] = []
        touched = self._touched | {self._engine_of[rollout_id] for rollout_id in self._returning}
        touched &= self._engines
        self._untried |= self._touched & self._engines
        self._touched.clear()
        for engine in touched:
            if self._forecast.advance(engine, loads[engine].num_steps):
                self._untried.add(engine)
        orders += [self._continue(rollout, loads) for rollout in self._returning.values()]
        going_on = self._returning.keys()
        for engine in touched:
            orders += self._relieve(engine, loads[engine], spared=going_on)
        self._returning.clear()
        if self._untried:
            orders += self._rehouse(loads)
            orders += self._begin(loads)
            self._untried.clear()
        return orders

    def _continue(self, rollout: Ready, loads: Sequence[EngineLoad]) -> Order:
        """The next turn where the last one was, unless another engine would be done so much sooner."""
        placed = self._placed(rollout.rollout_id)
        placed.response_tokens = rollout.num_tokens - rollout.prompt_tokens
        home, ends_E = self._engine_of[rollout.rollout_id], self._forecast.ends_E
        least_end = ends_E[home] * (1 - _MARGIN) - self._costs.prefill_reads * rollout.num_tokens
        if ends_E.min() < least_end:
            outlook = self._forecast.outlook(placed)
            best = self._choose(placed, outlook, self._engines)
            if best is not None and self._forecast.ends_with(outlook, [best])[0] < least_end:
                self._leave(placed)
                return self._enter(best, placed, loads)
        self._forecast.run(home, placed)
        return self._start(home, placed)

    def _rehouse(self, loads: Sequence[EngineLoad]) -> Iterator[Order]:
        """Those that were stopped, or whose engine was lost, in order; before anyone begins."""
        while self._homeless:
            rollout = next(iter(self._homeless.values()))
            placed = self._place(rollout)
            engine = self._choose(placed, self._forecast.outlook(placed), self._untried)
            if engine is None or self._is_short(loads[engine], placed):
                return
            del self._homeless[rollout.rollout_id]
            yield self._enter(engine, placed, loads)

    def _begin(self, loads: Sequence[EngineLoad]) -> Iterator[Order]:
        """First turns, as long as the next in line finds room and nobody goes before."""
        while not self._homeless and (group := self._line.head()) is not None:
            placed = self._place(self._line.next_of(group))
            outlook = self._forecast.outlook(placed)
            engine = self._choose(placed, outlook, self._untried, preferred=group.block_engine)
            if engine is None or self._is_short(loads[engine], placed):
                return
            self._line.start(group, engine)
            yield self._enter(engine, placed, loads)

    def _choose(
        self, placed: Placed, outlook: Outlook, among: Set[int], *, preferred: int | None = None
    ) -> int | None:
        """Of the engines whose room would suffice: the preferred one, else the one that is done first."""
        if preferred is not None and preferred in among and self._fitting(placed, outlook, [preferred]):
            return preferred
        fitting = self._fitting(placed, outlook, sorted(among))
        if not fitting:
            return None
        return fitting[int(self._forecast.ends_with(outlook, fitting).argmin())]

    def _fitting(self, placed: Placed, outlook: Outlook, engines: list[int]) -> list[int]:
        """Those whose room would suffice at every future step; an empty one takes what fits at all."""
        peaks = self._forecast.peaks_with(placed, outlook, engines, deviations=_DEVIATIONS)
        return [
            engine
            for engine, fits in zip(engines, peaks <= self._room_E[engines], strict=True)
            if fits or not self._forecast.placed[engine]
        ]

    def _relieve(self, engine: int, load: EngineLoad, *, spared: Set[str]) -> list[Order]:
        """Stop the youngest rollouts of an engine that runs short, no more than half.

        Who was told to go on just now does not run yet: there is nothing to stop.
        """
        short = load.kv_tokens_used + self._spare_steps * load.num_running - load.kv_tokens_total
        orders: list[Order] = []
        if short <= 0:
            return orders
        rows = self._forecast.placed[engine].values()
        running = sorted(
            (row for row in rows if row.is_running), key=lambda row: row.response_tokens_at(load.num_steps)
        )
        for row in [row for row in running if row.rollout_id not in spared][: len(running) // 2]:
            if short <= 0:
                break
            short -= row.response_tokens_at(load.num_steps) + self._spare_steps
            self._leave(row)
            orders.append(Stop(rollout_id=row.rollout_id))
        return orders

    def _is_short(self, load: EngineLoad, placed: Placed) -> bool:
        """Whether this one would soon have the engine relieved of it again; an idle engine takes it.

        What is expected may be wrong: without a look at what is there, a rollout would be stopped, placed
        and stopped again.
        """
        more_tokens = placed.prompt_tokens + placed.response_tokens
        spare_tokens = 2 * self._spare_steps * (load.num_running + 1)
        return (
            load.num_running > 0 and load.kv_tokens_used + more_tokens + spare_tokens > load.kv_tokens_total
        )

    # -- bookkeeping -----------------------------------------------------------------------------------

    def _begin_step(self, *, max_response_tokens: int) -> None:
        """Everything that is known of single rollouts; those of one step have one limit."""
        self._max_response_tokens = max_response_tokens
        self._spare_steps = max(_LEAST_SPARE_STEPS, round(_SPARE_SHARE * max_response_tokens))
        self._beliefs = self._lengths.beliefs(max_response_tokens)
        self._forecast = Forecast(self._beliefs, self._num_engines, step_reads=self._costs.step_reads)
        for engine in set(range(self._num_engines)) - self._engines:
            self._forecast.ends_E[engine] = np.inf
        self._line = WaitingLine(self._beliefs, block_size=_BLOCK_SIZE)
        self._known: dict[str, Ready] = {}
        self._engine_of: dict[str, int] = {}
        self._returning: dict[str, Ready] = {}
        self._homeless: dict[str, Ready] = {}
        self._touched: set[int] = set()
        """Engines that a rollout has left since the last decision."""
        self._untried: set[int] = set()
        """Engines that may have room for those who found none so far."""

    def _place(self, rollout: Ready) -> Placed:
        return Placed(
            rollout_id=rollout.rollout_id,
            group_id=rollout.group_id,
            group=self._line.groups[rollout.group_id].index,
            prompt_tokens=rollout.prompt_tokens,
            response_tokens=rollout.num_tokens - rollout.prompt_tokens,
        )

    def _placed(self, rollout_id: str) -> Placed:
        return self._forecast.placed[self._engine_of[rollout_id]][rollout_id]

    def _pause(self, placed: Placed, num_tokens: int) -> None:
        placed.response_tokens, placed.is_running = num_tokens - placed.prompt_tokens, False

    def _leave(self, placed: Placed) -> None:
        self._forecast.remove(self._engine_of.pop(placed.rollout_id), placed)

    def _enter(self, engine: int, placed: Placed, loads: Sequence[EngineLoad]) -> Order:
        self._forecast.advance(engine, loads[engine].num_steps)
        self._forecast.add(engine, placed)
        self._engine_of[placed.rollout_id] = engine
        return self._start(engine, placed)

    def _start(self, engine: int, placed: Placed) -> Order:
        return Start(
            rollout_id=placed.rollout_id,
            engine=engine,
            reserved_tokens=placed.prompt_tokens + placed.response_tokens + self._beliefs.bin_tokens,
        )
