"""What vLLM's scheduler says of itself after every step, added up.

vLLM calls `record` with objects of its own, which its authors call unstable: the fields that are relied upon
are read here and nowhere else.
"""

from dataclasses import replace
from typing import Any

from rstar2.engines.counters import EngineStats


class Statistics:
    """One engine's last state and its counters."""

    def __init__(self) -> None:
        self.totals = EngineStats()
        self.kv_tokens_total = 0
        self.kv_tokens_used = 0
        """Of running turns; what the prefix cache keeps besides goes whenever room is short."""
        self.num_running = 0

    def record(self, scheduler: Any, iteration: Any) -> None:
        """One step's `SchedulerStats` and `IterationStats`, each None where vLLM has none."""
        if scheduler is not None:
            self.num_running = scheduler.num_running_reqs
            self.kv_tokens_used = round(scheduler.kv_cache_usage * self.kv_tokens_total)
        if iteration is not None:
            self._add(iteration)
        self.totals = replace(
            self.totals,
            peak_running=max(self.totals.peak_running, self.num_running),
            peak_kv_tokens=max(self.totals.peak_kv_tokens, self.kv_tokens_used),
        )

    def _add(self, iteration: Any) -> None:
        totals, prompts = self.totals, iteration.prompt_token_stats
        num_first_tokens = len(iteration.time_to_first_tokens_iter)
        self.totals = replace(
            totals,
            decode_steps=totals.decode_steps + (iteration.num_generation_tokens > num_first_tokens),
            decode_tokens=totals.decode_tokens + iteration.num_generation_tokens,
            prefill_tokens=totals.prefill_tokens + prompts.computed,
            reused_tokens=totals.reused_tokens + prompts.cached_tokens,
            pauses=totals.pauses + iteration.num_preempted_reqs,
        )
