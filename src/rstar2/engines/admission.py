"""Who may run, and who must make room: an engine's KV budget, counted in tokens that are really there.

First come, first served. A turn for which somebody keeps room (`GenerationRequest.is_reserved`) starts when
its tokens and one more of every running turn fit; any other when all that it may write fits as well, beside
what the running ones are guessed to write (growth_guess.py). A worst-case reservation is a sender's matter.
Where rows and prompts are padded to the longest, there must be memory for the padding as well (`holds`).

    waiting -> running -> held (its tool runs, its prefix is kept) -> waiting -> ...
                 \\-> waiting again, its keys and values dropped, its tokens kept

When the next step finds no room, held prefixes go first, the longest held before the others; then running
turns pause, one by one, the youngest first. They queue again, and their tokens are computed anew.
Invariant: what is used never exceeds the budget. Liveness: a turn that runs alone always finds room, and
every admitted turn gains at least one token before it can pause. No tensors, no clock, no tasks.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from rstar2.engines.growth_guess import GrowthGuess
from rstar2.engines.kv_room import KvRoom, PromptKey, prompt_key
from rstar2.errors import CapacityError, EngineError
from rstar2.types import GenerationRequest


@dataclass(slots=True, eq=False)
class _Turn:
    request: GenerationRequest
    num_written: int = 0

    @property
    def num_tokens(self) -> int:
        return len(self.request.token_ids) + self.num_written

    @property
    def own_tokens(self) -> int:
        """Without those that its group shares."""
        return self.num_tokens - prompt_key(self.request)[1]

    @property
    def left_tokens(self) -> int:
        """That it may still write."""
        return self.request.max_new_tokens - self.num_written


@dataclass(slots=True)
class _Layout:
    """The rows and prompts of running turns: how many, and how long the longest are."""

    num_rows: int = 0
    longest: int = 0
    prompts: set[PromptKey] = field(default_factory=set)
    longest_prompt: int = 0

    def add(self, turn: _Turn) -> None:
        key = prompt_key(turn.request)
        self.num_rows += 1
        self.longest = max(self.longest, turn.own_tokens)
        self.prompts.add(key)
        self.longest_prompt = max(self.longest_prompt, key[1])


class Admission:
    """The queue before an engine and the room behind it."""

    def __init__(
        self,
        kv_tokens: int,
        *,
        on_drop: Callable[[str], None] = lambda rollout_id: None,
        holds: Callable[[int, int], bool] = lambda num_rows, longest: True,
    ) -> None:
        """`on_drop` hears of every held prefix that must go.

        `holds` says if there is memory for so many rows, each as long as the longest; for one there must be.
        """
        self.room = KvRoom(kv_tokens)
        self.num_pauses = 0
        self.evicted_tokens = 0
        """Keys and values dropped for lack of room while their rollout was to go on."""
        self.recomputed_tokens = 0
        """Of them, those that were taken in again."""
        self._on_drop = on_drop
        self._holds = holds
        self._waiting: dict[str, _Turn] = {}
        self._running: dict[str, _Turn] = {}
        self._held: dict[str, int] = {}  # rollout id -> own tokens, longest held first
        self._evicted: dict[str, int] = {}
        self._guess = GrowthGuess()

    @property
    def num_waiting(self) -> int:
        return len(self._waiting)

    @property
    def num_running(self) -> int:
        return len(self._running)

    def submit(self, request: GenerationRequest) -> None:
        """Queue a turn; CapacityError if it can never be admitted."""
        assert request.token_ids, "there is nothing to continue"
        assert request.max_new_tokens > 0, "there is nothing to generate"
        assert request.prompt_length <= len(request.token_ids), "the prompt is a part of the tokens"
        if request.rollout_id in self._waiting:
            raise EngineError(f"rollout {request.rollout_id} already waits; ask for one turn at a time")
        if len(request.token_ids) + request.max_new_tokens > request.max_total_tokens:
            raise CapacityError(
                f"{len(request.token_ids)} tokens and {request.max_new_tokens} new ones exceed "
                f"max_total_tokens {request.max_total_tokens}; lower max_new_tokens"
            )
        if request.max_total_tokens > self.room.total_tokens:
            raise CapacityError(
                f"max_total_tokens {request.max_total_tokens} exceeds the engine's KV budget of "
                f"{self.room.total_tokens} tokens; shorten the rollout or raise the budget"
            )
        self._waiting[request.rollout_id] = _Turn(request)

    def admit(self, num_free_rows: int) -> list[GenerationRequest]:
        """The turns that start or go on now, at most `num_free_rows`; their tokens have their room."""
        admitted: list[GenerationRequest] = []
        promised_tokens = sum(map(self._promised_tokens, self._running.values()))
        layout = _Layout()
        for turn in self._running.values():
            layout.add(turn)
        while self._waiting and len(admitted) < num_free_rows:
            turn = next(iter(self._waiting.values()))
            if self._running and not (
                self._fits(turn, promised_tokens) and self._is_padding_held(turn, layout)
            ):
                break
            self._start(turn)
            layout.add(turn)
            promised_tokens += self._promised_tokens(turn)
            admitted.append(turn.request)
        return admitted

    def make_room(self) -> list[str]:
        """See to it that every running turn can gain a token; the rollouts whose turns pause for that."""
        while self._held and self.room.free_tokens < len(self._running):
            self._drop_longest_held()
        paused: list[str] = []
        while not self._has_room_for_a_step():
            assert len(self._running) > 1, "a turn alone has room for all that it may become"
            # Of equals the one that came last.
            rollout_id = min(reversed(self._running), key=self.room.own_tokens)
            self._evict(rollout_id)
            self._waiting[rollout_id] = self._running.pop(rollout_id)
            paused.append(rollout_id)
        if paused:
            self.num_pauses += len(paused)
            turns = self._running.values()
            self._guess.correct(
                [turn.num_written for turn in turns], [turn.request.max_new_tokens for turn in turns]
            )
        return paused

    def grow(self, rollout_id: str) -> None:
        """The rollout's turn has gained a token."""
        self._running[rollout_id].num_written += 1
        self.room.grow(rollout_id, 1)

    def end_step(self) -> None:
        """A step is done: the longer none had to pause, the less is set aside for guessed growth."""
        self._guess.end_step()

    def hold(self, rollout_id: str) -> None:
        """The rollout's turn has ended; its prefix is kept while there is room."""
        del self._running[rollout_id]
        self._held[rollout_id] = self.room.own_tokens(rollout_id)

    def end(self, rollout_id: str) -> None:
        """The rollout's turn has ended and nothing of it is kept."""
        if self._running.pop(rollout_id, None) is not None:
            self.room.drop(rollout_id)

    def withdraw(self, rollout_id: str) -> None:
        """The rollout's turn waits no longer, if it did; its room, if it has any, is kept."""
        self._waiting.pop(rollout_id, None)

    def release(self, rollout_id: str) -> None:
        """Forget the rollout, whether it waits, runs, is held or unknown."""
        self._waiting.pop(rollout_id, None)
        self._running.pop(rollout_id, None)
        self._held.pop(rollout_id, None)
        self._evicted.pop(rollout_id, None)
        self.room.drop(rollout_id)

    def forget_prefixes(self) -> None:
        """Drop all that is held, and all experience, as new weights demand; nothing may be running."""
        assert not self._running
        for rollout_id in list(self._held):
            del self._held[rollout_id]
            self.room.drop(rollout_id)
        self._guess = GrowthGuess()

    def _fits(self, turn: _Turn, promised_tokens: float) -> bool:
        missing = self.room.missing_tokens(turn.request, turn.num_tokens)
        evictable = sum(self._held.values()) - self._held.get(turn.request.rollout_id, 0)
        growth: float = len(self._running) + 1
        if not turn.request.is_reserved:
            growth = max(growth, self._guess.most_tokens(turn.left_tokens) + promised_tokens)
        return missing + growth <= self.room.free_tokens + evictable

    def _is_padding_held(self, turn: _Turn, layout: _Layout) -> bool:
        """Whether all rows, as long as the longest, find memory with the turn's, and the prompts likewise."""
        key = prompt_key(turn.request)
        num_prompts = len(layout.prompts) + (key not in layout.prompts)
        return self._holds(layout.num_rows + 1, max(layout.longest, turn.own_tokens)) and self._holds(
            num_prompts, max(layout.longest_prompt, key[1])
        )

    def _has_room_for_a_step(self) -> bool:
        longest = max(map(self.room.own_tokens, self._running), default=0)
        return self.room.free_tokens >= len(self._running) and self._holds(len(self._running), longest)

    def _promised_tokens(self, turn: _Turn) -> float:
        """Room to set aside for what a running turn will write."""
        return 0.0 if turn.request.is_reserved else self._guess.expected_tokens(turn.left_tokens)

    def _start(self, turn: _Turn) -> None:
        rollout_id = turn.request.rollout_id
        self._held.pop(rollout_id, None)
        while self._held and not self._has_room_to_start(turn):
            self._drop_longest_held()
        self.room.take(turn.request, turn.num_tokens)
        self.recomputed_tokens += self._evicted.pop(rollout_id, 0)
        self._running[rollout_id] = self._waiting.pop(rollout_id)

    def _has_room_to_start(self, turn: _Turn) -> bool:
        missing = self.room.missing_tokens(turn.request, turn.num_tokens)
        return missing <= self.room.free_tokens and self._holds(*self.room.prompts_with(turn.request))

    def _drop_longest_held(self) -> None:
        rollout_id = next(iter(self._held))
        del self._held[rollout_id]
        self._evict(rollout_id)
        self._on_drop(rollout_id)

    def _evict(self, rollout_id: str) -> None:
        own_tokens = self.room.drop(rollout_id)
        self.evicted_tokens += own_tokens
        self._evicted[rollout_id] = own_tokens
