"""An engine in another process, as an `Engine`: replaced when it dies, and never used stale.

Turns of a lost engine raise EngineError, so that another engine writes them; if no other is up they wait, and
are written again token by token the same, since draws depend on the rollout's seed and the position alone. A
replacement takes turns only when it has adopted the weights that the other engines have.
"""

import asyncio
import logging
from dataclasses import asdict, dataclass, replace
from itertools import count
from typing import Any

from rstar2.cluster.engine_actor import BuildEngine, Snapshot
from rstar2.cluster.fleet import Fleet
from rstar2.cluster.keeper import Keeper
from rstar2.cluster.remote import Launch, Lost, Remote
from rstar2.cluster.supervision import Restarts
from rstar2.errors import EngineError
from rstar2.ports import WeightChannel
from rstar2.types import EngineLoad, FinishReason, Generation, GenerationRequest

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """When to ask an engine how it is."""

    poll_every_s: float = 0.25
    """Unless an answer came meanwhile, which says it too."""
    answer_limit_s: float = 60.0
    """Without an answer for twice so long, the process hangs."""


@dataclass(slots=True, eq=False)
class _Turn:
    """One that was asked for here and has not ended."""

    num_tokens: int
    number: int = 0
    """Of the call; 0 before it is sent."""
    is_released: bool = False


class ActorEngine:
    """Implements `Engine`, once `start` has returned; `number` is its place in the fleet."""

    def __init__(
        self,
        number: int,
        fleet: Fleet,
        launch: Launch,
        build: BuildEngine,
        *,
        restarts: Restarts | None = None,
        timing: Timing | None = None,
    ) -> None:
        self._number = number
        self._fleet = fleet
        self._build = build
        self._timing = timing or Timing()
        self._keeper = Keeper(
            f"engine {number}",
            launch,
            prepare=self._prepare,
            watch=self._watch,
            on_gone=self._give_up,
            restarts=restarts,
        )
        self._remote: Remote | None = None
        """None while it is lost, and when it is gone."""
        self._is_gone = False
        self._target: tuple[WeightChannel, int] | None = None
        """The weights that it should have."""
        self._adopted: tuple[WeightChannel, int] | None = None
        """Those that it has."""
        self._calls = count(1)
        self._turns: dict[str, _Turn] = {}
        self._snapshot: Snapshot
        self._heard_s = 0.0
        self._cause = ""
        """What it was lost to last."""
        self._steps_of_lost = 0
        """Done with the present weights by processes that died since."""
        self._stats_of_lost: Any = None

    async def start(self) -> None:
        await self._keeper.start()

    @property
    def num_replacements(self) -> int:
        return self._keeper.num_replacements

    @property
    def stats(self) -> Any:
        """Counters of all processes that it ever had, as a dataclass of the engine's own kind."""
        return self._stats_of_lost if self._remote is None else self._stats_so_far()

    def load(self) -> EngineLoad:
        """The last snapshot, corrected by what was sent since, and by what has ended since.

        Tokens are rather over- than understated. But a turn that has come back does not run: a policy that
        believed so might wait for it forever.
        """
        load = self._snapshot.load
        sent = [turn.num_tokens for turn in self._turns.values() if turn.number > self._snapshot.last_call]
        num_running = min(load.num_running, len(self._turns) - len(sent))
        return replace(
            load,
            kv_tokens_used=min(load.kv_tokens_total, load.kv_tokens_used + sum(sent)),
            kv_tokens_reserved=min(load.kv_tokens_total, load.kv_tokens_reserved + sum(sent)),
            num_running=num_running,
            num_waiting=len(self._turns) - num_running,
            num_steps=load.num_steps + self._steps_of_lost,
        )

    async def generate(self, request: GenerationRequest) -> Generation:
        """One turn; EngineError if another engine should write it."""
        turn = self._turns[request.rollout_id] = _Turn(len(request.token_ids))
        try:
            while not turn.is_released:
                if (remote := self._remote) is None:
                    await self._hope()
                elif self._adopted is not self._target:
                    raise EngineError(f"engine {self._number} is stale: it must adopt the new weights first")
                elif (generation := await self._ask(remote, turn, request)) is not None:
                    return generation
            return self._nothing()
        except asyncio.CancelledError:
            self.release(request.rollout_id)
            raise
        finally:
            if self._turns.get(request.rollout_id) is turn:
                del self._turns[request.rollout_id]

    def release(self, rollout_id: str) -> None:
        if (turn := self._turns.get(rollout_id)) is not None:
            turn.is_released = True
            self._fleet.stir()
        if self._remote is not None:
            self._remote.tell("release", next(self._calls), rollout_id)

    async def adopt(self, channel: WeightChannel, version: int) -> None:
        """EngineError if it is lost while others are up; its replacement will begin with these weights."""
        self._target = target = (channel, version)
        self._steps_of_lost = 0
        while self._adopted is not target:
            if (remote := self._remote) is None:
                await self._hope()
                continue
            try:
                self._hear(remote, await remote.call("adopt", channel, version))
                self._adopted = target
            except (Lost, EngineError) as loss:
                self._lose(remote, loss)

    async def close(self) -> None:
        if self._remote is not None:
            self._remote = None
            self._fleet.fall(self._number)
        await self._keeper.close()
        self._give_up()

    # -- turns -------------------------------------------------------------------------------------

    async def _ask(self, remote: Remote, turn: _Turn, request: GenerationRequest) -> Generation | None:
        """The turn; None if the engine was lost over it: its process, or what its process had of it."""
        turn.number = next(self._calls)
        answer: tuple[Generation, Snapshot]
        try:
            answer = await remote.call("generate", turn.number, request)
        except (Lost, EngineError) as loss:
            self._lose(remote, loss)
            return None
        generation, snapshot = answer
        self._hear(remote, snapshot)
        return generation

    async def _hope(self) -> None:
        """Until something changes; EngineError if another engine could do it, or nobody ever will."""
        if self._fleet.is_any_up:
            raise EngineError(f"engine {self._number} is being replaced; ask another one meanwhile")
        if self._is_gone:
            raise EngineError(f"engine {self._number} was given up; the last time it died of: {self._cause}")
        await self._fleet.change()

    def _nothing(self) -> Generation:
        version = self._snapshot.load.version
        return Generation(token_ids=(), logprobs=(), finish=FinishReason.RELEASED, version=version)

    # -- its process -------------------------------------------------------------------------------

    async def _prepare(self, remote: Remote) -> None:
        """An engine with the right weights, also if they change meanwhile; then it is up."""
        self._snapshot = await remote.call("start", self._build)
        while (target := self._target) is not self._adopted and target is not None:
            self._snapshot = await remote.call("adopt", *target)
            self._adopted = target
        self._remote = remote
        self._heard_s = asyncio.get_running_loop().time()
        self._fleet.rise(self._number)

    async def _watch(self, remote: Remote) -> None:
        """Until it is lost, which a turn may notice first."""
        clock, every_s = asyncio.get_running_loop().time, self._timing.poll_every_s
        while remote is self._remote:
            await asyncio.sleep(every_s)
            if remote is self._remote and clock() - self._heard_s >= every_s:
                await self._poll(remote)

    async def _poll(self, remote: Remote) -> None:
        asked = asyncio.ensure_future(remote.call("snapshot"))
        try:
            for _ in range(2):  # if it was this process that slept, the second wait finds the answer
                await asyncio.wait([asked], timeout=self._timing.answer_limit_s)
            if asked.done():
                self._hear(remote, asked.result())
            else:
                self._lose(remote, TimeoutError("it does not answer"))
        except Lost as loss:
            self._lose(remote, loss)
        finally:
            asked.cancel()

    def _hear(self, remote: Remote, snapshot: Snapshot) -> None:
        """An older one that comes late would take steps back, or those of the weights before."""
        if remote is self._remote and snapshot.number > self._snapshot.number:
            self._snapshot = snapshot
            self._heard_s = asyncio.get_running_loop().time()

    def _lose(self, remote: Remote, cause: Exception) -> None:
        """By whoever notices first; the others' calls are lost as well, and notice by themselves."""
        if remote is not self._remote:
            return
        _log.warning("engine %d is lost: %s", self._number, cause)
        self._cause = str(cause)
        self._stats_of_lost = self._stats_so_far()
        self._steps_of_lost += self._snapshot.load.num_steps
        load = self._snapshot.load
        empty = replace(
            load, kv_tokens_reserved=0, kv_tokens_used=0, num_running=0, num_waiting=0, num_steps=0
        )
        self._snapshot = replace(self._snapshot, load=empty)
        self._remote = self._adopted = None
        self._fleet.fall(self._number)

    def _give_up(self) -> None:
        self._is_gone = True
        self._fleet.stir()

    def _stats_so_far(self) -> Any:
        return _sum(self._stats_of_lost, self._snapshot.stats)


def _sum(earlier: Any, later: Any) -> Any:
    """Counters of two dataclasses of the same kind; of peaks the higher one."""
    if earlier is None:
        return later
    before = asdict(earlier)
    return replace(
        later,
        **{
            name: max(before[name], value) if name.startswith("peak_") else before[name] + value
            for name, value in asdict(later).items()
        },
    )
