"""The running rows of an engine: one iteration is plan -> compute -> settle.

    plan      places new turns into rows, with whatever prefix is kept, and lays out the forward
    compute   the forward and the draws; touches tensors only, so it may run in a thread
    settle    hands out the drawn tokens; rows that ended are parked and closed up at once

Rows 0..n-1 are dense: the last row moves into the place of one that ended. So are the prompts.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from transformers import PreTrainedModel

from rstar2.engines.prefixes import Kept, Prefixes, Prompt
from rstar2.engines.sampling import SamplingRows, draw
from rstar2.models.cached_attention import CacheLayout, Span
from rstar2.models.row_cache import RowCache
from rstar2.types import GenerationRequest


@dataclass(slots=True, eq=False)
class Row:
    """One turn being written."""

    request: GenerationRequest
    prompt: Prompt
    num_cached: int = 0
    """Own positions, those after the prompt, whose keys and values lie in the row."""
    token_ids: list[int] = field(default_factory=list)
    """Generated so far; the last one has no keys and values yet."""
    logprobs: list[float] = field(default_factory=list)
    abandoned: bool = False
    """Nobody waits for the result any more."""

    @property
    def own_token_ids(self) -> tuple[int, ...]:
        """All tokens after the prompt."""
        return (*self.request.token_ids[len(self.prompt.token_ids) :], *self.token_ids)

    @property
    def num_own(self) -> int:
        return len(self.request.token_ids) - len(self.prompt.token_ids) + len(self.token_ids)

    @property
    def span(self) -> Span:
        """The tokens that are not cached yet."""
        assert self.prompt.slot is not None
        return Span(
            prompt=self.prompt.slot,
            num_shared=len(self.prompt.token_ids),
            start=self.num_cached,
            num_tokens=self.num_own - self.num_cached,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What one forward computes."""

    token_ids: list[int]
    layout: CacheLayout
    sampling: SamplingRows
    num_continuing: int
    """Rows that ran before."""
    num_prefill_tokens: int
    num_reused_tokens: int


class Batch:
    """Rows in order, their keys and values, and the prefixes kept for those that are not running."""

    def __init__(
        self, model: PreTrainedModel, *, eos_token_id: int, kv_tokens: int, max_prefill_tokens: int
    ) -> None:
        self.rows: list[Row] = []
        self.entering: list[Row] = []
        """Admitted, not yet in a row; in order of admission."""
        self.prefixes = Prefixes()
        self._paused: dict[str, Row] = {}
        self._model = model
        self._row_cache = RowCache(kv_tokens)
        self._prompt_cache = RowCache(kv_tokens)
        self._prompts: list[Prompt] = []
        """By slot of the prompt cache."""
        self._eos_token_id = eos_token_id
        self._max_prefill_tokens = max_prefill_tokens
        self._sampling: SamplingRows | None = None

    @property
    def num_running(self) -> int:
        return len(self.rows) + len(self.entering)

    @property
    def is_abandoned(self) -> bool:
        """There are rows, and nobody waits for any of them."""
        return self.num_running > 0 and all(row.abandoned for row in (*self.rows, *self.entering))

    def holds(self, num_rows: int, longest: int) -> bool:
        """Whether there is memory for so many rows, or prompts, each as long as the longest."""
        return self._row_cache.holds(num_rows, longest)

    def enter(self, request: GenerationRequest) -> None:
        """Begin a turn, or go on with one that paused."""
        row = self._paused.pop(request.rollout_id, None) or Row(request, self.prefixes.join(request))
        row.prompt = self.prefixes.join(request)
        self.entering.append(row)

    def pause(self, rollout_id: str) -> None:
        """Take a running turn out: it keeps its tokens, and its keys and values are dropped."""
        row = next(row for row in (*self.rows, *self.entering) if row.request.rollout_id == rollout_id)
        if row in self.entering:
            self.entering.remove(row)
        else:
            self._remove(self.rows.index(row))
        row.num_cached = 0
        self._paused[rollout_id] = row
        self.prefixes.leave(rollout_id)

    def written(self, rollout_id: str) -> tuple[tuple[int, ...], tuple[float, ...]]:
        """Tokens and log-probs of the rollout's turn so far."""
        for row in (*self.rows, *self.entering, *self._paused.values()):
            if row.request.rollout_id == rollout_id and not row.abandoned:
                return tuple(row.token_ids), tuple(row.logprobs)
        return (), ()

    def abandon(self, rollout_id: str) -> bool:
        """Mark the rollout's row for removal, if it has one; a paused turn is gone at once."""
        self._paused.pop(rollout_id, None)
        for row in (*self.rows, *self.entering):
            if row.request.rollout_id == rollout_id:
                row.abandoned = True
                return True
        return False

    def drop_prefixes(self) -> None:
        """Forget all keys and values; nothing may be running."""
        assert not self.rows
        self.prefixes.drop()
        self._prompts.clear()

    def plan(self) -> Plan:
        """One more token for every row, and as many of the entering turns as one forward may prefill."""
        self._remove_idle_prompts()
        num_continuing = len(self.rows)
        entering = self._next_entering()
        new_prompts = self._place_prompts(entering)
        self._place_rows(entering)
        spans = [row.span for row in self.rows]
        num_decode = next((i for i, span in enumerate(spans) if span.num_tokens > 1), len(spans))
        token_ids = [row.token_ids[-1] for row in self.rows[:num_continuing]]
        token_ids += [row.request.token_ids[-1] for row in self.rows[num_continuing:num_decode]]
        token_ids += [token for prompt in new_prompts for token in prompt.token_ids]
        for row in self.rows[num_decode:]:
            token_ids += row.own_token_ids[row.num_cached :]
        new_lengths = [
            (prompt.slot, len(prompt.token_ids)) for prompt in new_prompts if prompt.slot is not None
        ]
        num_prefill = len(token_ids) - num_continuing
        return Plan(
            token_ids=token_ids,
            layout=CacheLayout(
                self._row_cache,
                self._prompt_cache,
                decode=spans[:num_decode],
                new_prompts=new_lengths,
                chunks=spans[num_decode:],
                device=self._model.device,
            ),
            sampling=self._sampling_rows(),
            num_continuing=num_continuing,
            num_prefill_tokens=num_prefill,
            num_reused_tokens=sum(len(row.prompt.token_ids) + row.num_own for row in entering) - num_prefill,
        )

    @torch.no_grad()
    def compute(self, plan: Plan) -> tuple[list[int], list[float]]:
        """The drawn token and its log-prob for each row; one transfer from the device."""
        layout = plan.layout
        position_ids = layout.position_ids
        last = layout.last_tokens
        logits = self._model(
            input_ids=torch.tensor([plan.token_ids], device=self._model.device),
            position_ids=position_ids,
            cache_layout=layout,
            use_cache=False,
            logits_to_keep=last,
        ).logits[0]
        tokens, logprobs = draw(logits, plan.sampling, position_ids[0, last] + 1)
        drawn, scores = torch.stack([tokens.double(), logprobs.double()]).tolist()
        return [int(token) for token in drawn], scores

    def settle(self, drawn: Sequence[int], logprobs: Sequence[float]) -> list[Row]:
        """Append what was drawn; returns the rows that ended, already parked and gone."""
        ended = []
        for index, (row, token, logprob) in enumerate(zip(self.rows, drawn, logprobs, strict=True)):
            row.num_cached = row.num_own
            row.token_ids.append(token)
            row.logprobs.append(logprob)
            if token == self._eos_token_id or len(row.token_ids) == row.request.max_new_tokens:
                ended.append(index)
        return [self._park(index) for index in reversed(ended)][::-1]

    def remove_abandoned(self) -> list[Row]:
        """Close up the rows that nobody waits for; nothing of them is kept."""
        gone = [row for row in (*self.rows, *self.entering) if row.abandoned]
        self.entering = [row for row in self.entering if not row.abandoned]
        for index in reversed([index for index, row in enumerate(self.rows) if row.abandoned]):
            self._remove(index)
        return gone

    def _next_entering(self) -> list[Row]:
        """The first entering turns that one forward may prefill: at least one, if there is any."""
        num_tokens = count = 0
        new_prompts: set[Prompt] = set()
        for row in self.entering:
            num_tokens += row.num_own - self.prefixes.reusable(row.request, row.prompt)
            if row.prompt.slot is None and row.prompt not in new_prompts:
                new_prompts.add(row.prompt)
                num_tokens += len(row.prompt.token_ids)
            if count and num_tokens > self._max_prefill_tokens:
                break
            count += 1
        chosen, self.entering = self.entering[:count], self.entering[count:]
        return chosen

    def _place_prompts(self, entering: Sequence[Row]) -> list[Prompt]:
        """Slots for the prompts that must be computed."""
        new = []
        for row in entering:
            if row.prompt.slot is None:
                row.prompt.slot = len(self._prompts)
                self._prompts.append(row.prompt)
                new.append(row.prompt)
        longest = max((len(prompt.token_ids) for prompt in self._prompts), default=0)
        self._prompt_cache.fit(len(self._prompts), longest)
        return new

    def _place_rows(self, entering: Sequence[Row]) -> None:
        """Rows for the entering turns, their kept prefixes restored; those that lack one token come first."""
        for row in entering:
            row.num_cached = self.prefixes.reusable(row.request, row.prompt)
        first = len(self.rows)
        self.rows += sorted(entering, key=lambda row: row.num_own - row.num_cached > 1)
        self._row_cache.fit(len(self.rows), max(row.num_own for row in self.rows))
        for index, row in enumerate(self.rows[first:], start=first):
            if row.num_cached:
                self._row_cache.write(index, self.prefixes.take(row.request.rollout_id), row.num_cached)
        if entering:
            self._sampling = None

    def _sampling_rows(self) -> SamplingRows:
        if self._sampling is None:
            requests = [row.request for row in self.rows]
            self._sampling = SamplingRows.build(
                [request.seed for request in requests],
                [request.temperature for request in requests],
                [request.top_p for request in requests],
                self._model.device,
            )
        return self._sampling

    def _park(self, index: int) -> Row:
        row = self.rows[index]
        kept = Kept(
            prompt=row.prompt,
            token_ids=row.own_token_ids[: row.num_cached],
            tensors=self._row_cache.read(index, row.num_cached),
        )
        self.prefixes.park(row.request.rollout_id, kept)
        self._remove(index)
        return row

    def _remove(self, index: int) -> None:
        last = self.rows.pop()
        if index < len(self.rows):
            self._row_cache.move(len(self.rows), index, last.num_cached)
            self.rows[index] = last
        self._sampling = None

    def _remove_idle_prompts(self) -> None:
        for prompt in self.prefixes.remove_idle_prompts():
            if prompt.slot is None:
                continue
            last = self._prompts.pop()
            if last is not prompt:
                self._prompt_cache.move(len(self._prompts), prompt.slot, len(last.token_ids))
                self._prompts[prompt.slot] = last
                last.slot = prompt.slot
