"""One engine in virtual time, without simulating tokens one by one.

All decoding rows gain a token per step, so a row that has n tokens to write ends at step `now + n`: a heap
by ending step says who is next, and a segment of many equal steps is one event. Segments end when a row
ends, when the room is full, when a prefill is due, or when a turn arrives.

A turn with a reservation starts when what it needs now has room; one without, as in SGLang, when all it may
write and what running rows are guessed to write (guess.py) has room too. When a step finds no room, kept
prefixes go first (least recently used), then rows are retracted, as in SGLang: fewest written tokens first,
until 20 steps have room; they queue again and are recomputed.
"""

import heapq
import math
from collections import deque
from dataclasses import dataclass

from rstar2.rollout.simulation.guess import RETRACTION_STEPS, GrowthGuess
from rstar2.rollout.simulation.rows import KvRoom, Phase, Row
from rstar2.rollout.simulation.step_times import StepTimes
from rstar2.types import EngineLoad


@dataclass(slots=True)
class EngineCounts:
    """Sums since the start."""

    busy_s: float = 0.0
    num_steps: int = 0
    """Iterations, those that prefill included."""
    read_tokens: int = 0
    """Tokens whose keys and values were read by decoding rows, summed over the iterations."""
    decoded_tokens: int = 0
    prefilled_tokens: int = 0
    recomputed_tokens: int = 0
    """Prefilled although they had been computed before, here or on another engine."""
    evicted_tokens: int = 0
    """Thrown away by the engine for lack of room while their rollout was still to go on."""
    num_retractions: int = 0


class SimulatedEngine:
    """Turns in, ended turns out; driven by `wake` and `advance`."""

    def __init__(
        self, times: StepTimes, *, kv_tokens: int, prefill_chunk_tokens: int = 512, max_rows: int = 1024
    ) -> None:
        self.counts = EngineCounts()
        self.next_s = math.inf
        """When the present segment ends."""
        self.history: list[tuple[float, int, int]] = []
        """(time, KV tokens used, rows decoding) at the beginning of segments."""
        self._times = times
        self._room = KvRoom(kv_tokens)
        self._prefill_chunk_tokens = prefill_chunk_tokens
        self._max_rows = max_rows
        self._rows: dict[str, Row] = {}
        self._held: dict[str, Row] = {}  # least recently held first
        self._waiting: deque[Row] = deque()
        self._prefilling: deque[Row] = deque()
        self._decoding: dict[str, Row] = {}
        self._endings: list[tuple[int, int, Row]] = []
        self._stopping: list[Row] = []
        self._context_tokens = 0
        self._step = 0
        self._num_stamps = 0
        self._guess = GrowthGuess()
        self._begin_s = 0.0
        self._num_steps = 0
        self._chunk: list[tuple[Row, int]] = []

    # -- what a driver does ----------------------------------------------------------------------------

    def submit(self, row: Row) -> None:
        """Queue a turn; `wake` must follow."""
        held = self._held.get(row.rollout_id)
        if held is not None:
            row.phase, row.own_tokens = Phase.HELD, held.own_tokens
            self._held[row.rollout_id] = row
        self._rows[row.rollout_id] = row
        self._waiting.append(row)

    def release(self, rollout_id: str) -> None:
        """Forget a rollout that has no turn here."""
        self._rows.pop(rollout_id, None)
        row = self._held.pop(rollout_id, None)
        if row is not None:
            self._room.drop(row)

    def stop(self, rollout_id: str) -> None:
        """Break off a turn at the next step; `advance` returns it with what it has. `wake` must follow."""
        self._stopping.append(self._rows[rollout_id])

    def wake(self, now_s: float) -> None:
        """Take note of what was submitted or stopped: at the next step boundary, at once if idle."""
        if self.next_s == math.inf:
            self._plan(now_s)
        elif not self._chunk and self._num_steps > 1:
            self._num_steps = self._steps_begun(now_s)
            self.next_s = self._begin_s + self._segment_s()

    def advance(self) -> list[Row]:
        """End the segment, at `next_s`: the rows whose turns ended or were stopped. `wake` must follow."""
        now_s, self.next_s = self.next_s, math.inf
        self.counts.busy_s += now_s - self._begin_s
        self._grow(self._num_steps)
        self._num_steps = 0
        ended = self._finish_chunk()
        while self._endings and self._endings[0][0] <= self._step:
            _, stamp, row = heapq.heappop(self._endings)
            if row.stamp == stamp and row.phase is Phase.DECODE:
                self._leave_decoding(row)
                self._hold(row)
                ended.append(row)
        ended += [row for row in self._stopping if self._stop(row)]
        self._stopping.clear()
        return ended

    def load(self, now_s: float) -> EngineLoad:
        num_done = self._steps_begun(now_s) - 1 if self._num_steps > 1 else 0
        used_tokens = self._room.used_tokens + num_done * len(self._decoding)
        return EngineLoad(
            kv_tokens_total=self._room.total_tokens,
            kv_tokens_reserved=used_tokens,
            kv_tokens_used=used_tokens,
            num_running=len(self._decoding) + len(self._prefilling),
            num_waiting=len(self._waiting),
            num_steps=self._step + num_done,
            version=0,
        )

    # -- segments --------------------------------------------------------------------------------------

    def _plan(self, now_s: float) -> None:
        """Choose the next segment."""
        self._admit()
        self._make_room()
        self._begin_s = now_s
        if not self.history or now_s - self.history[-1][0] >= 0.5:
            self.history.append((now_s, self._room.used_tokens, len(self._decoding)))
        self._chunk = self._next_chunk()
        if self._chunk:
            self._num_steps = 1
        elif self._decoding:
            first_ending = self._first_ending()
            room_steps = self._room.free_tokens // len(self._decoding)
            self._num_steps = min(first_ending - self._step, room_steps)
        else:
            self._num_steps = 0
            self.next_s = math.inf
            return
        self.next_s = now_s + self._segment_s()

    def _steps_begun(self, now_s: float) -> int:
        """Of the present segment, in which rows only decode."""
        return self._times.steps_begun(
            now_s - self._begin_s,
            self._num_steps,
            num_rows=len(self._decoding),
            context_tokens=self._context_tokens,
        )

    def _segment_s(self) -> float:
        if not self._chunk:
            return self._times.decode_s(
                self._num_steps, num_rows=len(self._decoding), context_tokens=self._context_tokens
            )
        return self._times.step_s(
            num_rows=len(self._decoding),
            context_tokens=self._context_tokens,
            prefill_tokens=sum(tokens for _, tokens in self._chunk),
            prefill_pairs=sum(
                tokens * (row.num_tokens - row.to_prefill + tokens // 2) for row, tokens in self._chunk
            ),
        )

    def _grow(self, num_steps: int) -> None:
        """Every decoding row gains `num_steps` tokens."""
        gained = num_steps * len(self._decoding)
        self.counts.num_steps += num_steps
        self.counts.read_tokens += num_steps * self._context_tokens + gained * (num_steps - 1) // 2
        self._step += num_steps
        self._context_tokens += gained
        self._room.used_tokens += gained
        self.counts.decoded_tokens += gained
        self._guess.decay(num_steps)

    def _next_chunk(self) -> list[tuple[Row, int]]:
        left, chunk = self._prefill_chunk_tokens, []
        for row in self._prefilling:
            tokens = min(left, row.to_prefill)
            chunk.append((row, tokens))
            left -= tokens
            if not left:
                break
        return chunk

    def _finish_chunk(self) -> list[Row]:
        """Rows whose prefill is done have drawn their first token; those that wanted only one have ended."""
        ended = []
        for row, tokens in self._chunk:
            self.counts.prefilled_tokens += tokens
            row.to_prefill -= tokens
            if row.to_prefill:
                continue
            self._prefilling.popleft()
            row.num_tokens += 1
            row.own_tokens += 1
            row.to_write -= 1
            row.written += 1
            self._room.used_tokens += 1
            self.counts.decoded_tokens += 1
            if row.to_write:
                self._enter_decoding(row)
            else:
                self._hold(row)
                ended.append(row)
        self._chunk = []
        return ended

    # -- rows ------------------------------------------------------------------------------------------

    def _enter_decoding(self, row: Row) -> None:
        self._num_stamps += 1
        row.phase, row.since, row.stamp = Phase.DECODE, self._step, self._num_stamps
        self._decoding[row.rollout_id] = row
        self._context_tokens += row.num_tokens
        heapq.heappush(self._endings, (self._step + row.to_write, row.stamp, row))

    def _leave_decoding(self, row: Row) -> None:
        """Bring the row's own numbers up to date; it stays resident."""
        del self._decoding[row.rollout_id]
        gained = self._step - row.since
        row.num_tokens += gained
        row.own_tokens += gained
        row.to_write -= gained
        row.written += gained
        row.since = self._step
        self._context_tokens -= row.num_tokens

    def _hold(self, row: Row) -> None:
        row.phase = Phase.HELD
        self._room.hold(row)
        self._held[row.rollout_id] = row

    def _stop(self, row: Row) -> bool:
        """Take the row out, whatever it does; False if its turn has just ended by itself."""
        if row.phase is Phase.HELD and row not in self._waiting:
            return False
        if row.phase is Phase.DECODE:
            self._leave_decoding(row)
        elif row.phase is Phase.PREFILL:
            self._prefilling.remove(row)
        else:
            self._waiting.remove(row)
        self._held.pop(row.rollout_id, None)
        if row.phase is not Phase.WAITING:
            self._room.drop(row)
            row.phase = Phase.WAITING
        del self._rows[row.rollout_id]
        return True

    def _first_ending(self) -> int:
        while True:
            step, stamp, row = self._endings[0]
            if row.stamp == stamp and row.phase is Phase.DECODE:
                return step
            heapq.heappop(self._endings)

    # -- admission and retraction ----------------------------------------------------------------------

    def _admit(self) -> None:
        """Let waiting turns in, in order, as far as one chunk of prefill reaches."""
        if not self._waiting:
            return
        promised_tokens = 0.0
        if not self._waiting[0].is_reserved:
            head = self._waiting[0]
            least = self._room.missing_tokens(head) + self._guess.growth_tokens(head)
            if self._decoding and least > self._room.free_tokens + self._room.held_tokens:
                return  # whatever the others write: spares the sum over them while the room is full
            promised_tokens = self._guess.promised_tokens(self._decoding.values(), self._step)
        pending_tokens = sum(row.to_prefill for row in self._prefilling)
        while self._waiting and pending_tokens < self._prefill_chunk_tokens:
            row = self._waiting[0]
            num_running = len(self._decoding) + len(self._prefilling)
            missing = self._room.missing_tokens(row)
            growth = num_running + 1 if row.is_reserved else self._guess.growth_tokens(row) + promised_tokens
            evictable = self._room.held_tokens - (row.own_tokens if row.phase is Phase.HELD else 0)
            fits = missing + growth <= self._room.free_tokens + evictable
            if num_running and (not fits or num_running == self._max_rows):
                return
            self._waiting.popleft()
            self._start(row, missing)
            pending_tokens += row.to_prefill
            if not row.is_reserved:
                promised_tokens += self._guess.ratio * self._guess.growth_tokens(row)

    def _start(self, row: Row, missing: int) -> None:
        self._held.pop(row.rollout_id, None)
        self._evict_held(missing)
        known = row.num_tokens - missing
        self.counts.recomputed_tokens += max(0, row.num_computed - known)
        self._room.take(row)
        row.phase = Phase.PREFILL
        row.to_prefill = max(1, missing)
        row.num_computed = row.num_tokens
        self._prefilling.append(row)

    def _evict_held(self, needed_tokens: int) -> None:
        """Throw away kept prefixes, least recently used first, until there is room."""
        while self._room.free_tokens < needed_tokens and self._held:
            row = self._held.pop(next(iter(self._held)))
            self.counts.evicted_tokens += self._room.drop(row)
            row.phase = Phase.WAITING

    def _make_room(self) -> None:
        """See to it that the next step finds room for a token of every row."""
        growing = len(self._decoding) + len(self._prefilling)
        if self._room.free_tokens >= growing:
            return
        self._evict_held(growing)
        if self._room.free_tokens >= growing:
            return
        youngest_last = sorted(self._decoding.values(), key=self._retraction_key, reverse=True)
        while self._room.free_tokens < len(self._decoding) * RETRACTION_STEPS and len(youngest_last) > 1:
            self._retract(youngest_last.pop())
        assert self._room.free_tokens > 0, "one row alone must fit"
        self._guess.correct(self._decoding.values(), self._step)

    def _retraction_key(self, row: Row) -> tuple[int, int]:
        """SGLang looks at the tokens of the turn, as it knows no rollouts; a policy means whole rollouts."""
        tokens = row.tokens_at(self._step)
        return (tokens - row.prompt_tokens if row.is_reserved else row.written_at(self._step), -tokens)

    def _retract(self, row: Row) -> None:
        self._leave_decoding(row)
        self.counts.evicted_tokens += self._room.drop(row)
        self.counts.num_retractions += 1
        row.phase = Phase.WAITING
        row.num_computed = row.num_tokens
        self._waiting.append(row)
