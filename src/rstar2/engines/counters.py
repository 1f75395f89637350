"""What engines count, under the same names in the metrics of a run whatever the engine."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineStats:
    """Counters since construction, of any engine that keeps keys and values itself."""

    decode_steps: int = 0
    """Forwards in which at least one row decoded."""
    decode_tokens: int = 0
    """Tokens drawn."""
    prefill_tokens: int = 0
    """Tokens computed for prompts and tool responses."""
    reused_tokens: int = 0
    """Tokens that a kept prefix or a shared prompt spared."""
    peak_running: int = 0
    peak_kv_tokens: int = 0
    pauses: int = 0
    """Turns that had to stop for lack of KV room and went on later."""
