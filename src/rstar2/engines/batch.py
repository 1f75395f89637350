"""The running rows of an engine: one iteration is plan -> compute -> settle.

    plan      places new turns into rows, with whatever prefix is kept, and lays out the forward
    compute   the forward and the draws; touches tensors only, so it may run in a thread
    settle    hands out the drawn tokens; rows that ended are parked and closed up at once

Rows 0..n-1 are dense: the last row moves into the place of one that ended.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from transformers import PreTrainedModel

from rstar2.engines.prefixes import Kept, Prefixes
from rstar2.engines.sampling import SamplingRows, draw
from rstar2.models.cached_attention import CacheLayout, Chunk, RowCache
from rstar2.types import GenerationRequest


@dataclass(slots=True)
class Row:
    """One turn being written."""

    request: GenerationRequest
    num_cached: int = 0
    """Positions whose keys and values lie in the row."""
    token_ids: list[int] = field(default_factory=list)
    """Generated so far; the last one has no keys and values yet."""
    logprobs: list[float] = field(default_factory=list)
    abandoned: bool = False
    """Nobody waits for the result any more."""

    @property
    def all_token_ids(self) -> tuple[int, ...]:
        return (*self.request.token_ids, *self.token_ids)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What one forward computes."""

    token_ids: list[int]
    layout: CacheLayout
    sampling: SamplingRows
    num_prefill_tokens: int
    num_reused_tokens: int


class Batch:
    """Rows in order, their keys and values, and the prefixes kept for those that are not running."""

    def __init__(self, model: PreTrainedModel, *, eos_token_id: int, max_prefill_tokens: int) -> None:
        self.rows: list[Row] = []
        self.entering: list[Row] = []
        """Admitted, not yet in a row; in order of admission."""
        self.prefixes = Prefixes()
        self._model = model
        self._cache = RowCache()
        self._eos_token_id = eos_token_id
        self._max_prefill_tokens = max_prefill_tokens
        self._sampling: SamplingRows | None = None

    @property
    def num_running(self) -> int:
        return len(self.rows) + len(self.entering)

    def enter(self, request: GenerationRequest) -> None:
        self.entering.append(Row(request))

    def abandon(self, rollout_id: str) -> bool:
        """Mark the rollout's row for removal, if it has one."""
        for row in (*self.rows, *self.entering):
            if row.request.rollout_id == rollout_id:
                row.abandoned = True
                return True
        return False

    def plan(self) -> Plan:
        """One more token for every row, and as many of the entering turns as one forward may prefill."""
        token_ids = [row.token_ids[-1] for row in self.rows]
        lengths = [row.num_cached for row in self.rows]
        entering = self._next_entering()
        longest = max([length + 1 for length in lengths] + [len(row.request.token_ids) for row in entering])
        self._cache.fit(len(lengths) + len(entering), longest)
        chunks: list[Chunk] = []
        num_reused = 0
        for row in entering:
            start = self._restore_prefix(row, len(self.rows))
            new_token_ids = row.request.token_ids[start:]
            chunks.append(Chunk(row=len(self.rows), start=start, num_tokens=len(new_token_ids)))
            token_ids.extend(new_token_ids)
            num_reused += start
            self.rows.append(row)
            self._sampling = None
        device = self._model.device
        if self._sampling is None:
            requests = [row.request for row in self.rows]
            self._sampling = SamplingRows.build(
                [r.seed for r in requests],
                [r.temperature for r in requests],
                [r.top_p for r in requests],
                device,
            )
        return Plan(
            token_ids=token_ids,
            layout=CacheLayout(self._cache, lengths, chunks, device),
            sampling=self._sampling,
            num_prefill_tokens=len(token_ids) - len(lengths),
            num_reused_tokens=num_reused,
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

    def settle(self, plan: Plan, drawn: Sequence[int], logprobs: Sequence[float]) -> list[Row]:
        """Append what was drawn; returns the rows that ended, already parked and gone."""
        ended = []
        for index, (row, token, logprob) in enumerate(zip(self.rows, drawn, logprobs, strict=True)):
            row.num_cached = len(row.request.token_ids) + len(row.token_ids)
            row.token_ids.append(token)
            row.logprobs.append(logprob)
            if token == self._eos_token_id or len(row.token_ids) == row.request.max_new_tokens:
                ended.append(index)
        for chunk in plan.layout.chunks:
            self._share_prompt(chunk.row)
        return [self._park(index) for index in reversed(ended)][::-1]

    def remove_abandoned(self) -> list[Row]:
        """Close up the rows that nobody waits for; nothing of them is kept."""
        gone = [row for row in (*self.rows, *self.entering) if row.abandoned]
        self.entering = [row for row in self.entering if not row.abandoned]
        for index in reversed([index for index, row in enumerate(self.rows) if row.abandoned]):
            self._remove(index)
        return gone

    def _next_entering(self) -> list[Row]:
        """Turns for this forward; one whose prompt is being computed here by another member waits for it."""
        chosen: list[Row] = []
        num_tokens = 0
        computing: set[str] = set()
        for row in self.entering:
            request = row.request
            if request.group_id in computing and not self.prefixes.has_turn(request.rollout_id):
                continue
            num_new = len(request.token_ids) - self.prefixes.reusable(request)
            if chosen and num_tokens + num_new > self._max_prefill_tokens:
                break
            num_tokens += num_new
            chosen.append(row)
            if not self.prefixes.has_prompt(request.group_id):
                computing.add(request.group_id)
        taken = {id(row) for row in chosen}
        self.entering = [row for row in self.entering if id(row) not in taken]
        return chosen

    def _restore_prefix(self, row: Row, index: int) -> int:
        """Copy what is kept of the turn's prefix into its row; the number of positions that spares."""
        length, tensors = self.prefixes.take(row.request)
        if length:
            self._cache.write(index, tensors, length)
        return length

    def _share_prompt(self, index: int) -> None:
        request = self.rows[index].request
        if not self.prefixes.has_prompt(request.group_id):
            prompt = request.token_ids[: request.prompt_length]
            kept = Kept(token_ids=prompt, tensors=self._cache.read(index, len(prompt)))
            self.prefixes.share(request.group_id, kept)

    def _park(self, index: int) -> Row:
        row = self.rows[index]
        kept = Kept(
            token_ids=row.all_token_ids[: row.num_cached], tensors=self._cache.read(index, row.num_cached)
        )
        self.prefixes.park(row.request.rollout_id, kept)
        self._remove(index)
        return row

    def _remove(self, index: int) -> None:
        last = self.rows.pop()
        if index < len(self.rows):
            self._cache.move(len(self.rows), index, last.num_cached)
            self.rows[index] = last
        self._sampling = None
