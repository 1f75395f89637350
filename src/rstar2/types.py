"""The vocabulary: frozen values that travel between the stages, and nothing else.

Problem -> Rollout (Segments and Turns) -> GradedRollout -> Group -> TrainSample. No tensors, no
behaviour beyond small derived facts. Parallel arrays are checked for equal length on construction.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Self


class Source(StrEnum):
    """Who wrote a token."""

    PROMPT = "prompt"
    MODEL = "model"
    ENVIRONMENT = "environment"
    """Tool responses and the template's bridge around them; never trained on."""


class ToolStatus(StrEnum):
    """What became of one tool call, recorded where it was known first."""

    OK = "ok"
    EXCEPTION = "exception"
    TIME_LIMIT = "time_limit"
    MEMORY_LIMIT = "memory_limit"
    OUTPUT_LIMIT = "output_limit"
    """The program ran to its end but wrote more than is kept; not an error of the model."""
    MALFORMED = "malformed"
    """The text between the tool-call tags is not a call (bad JSON, missing keys, unclosed tag)."""
    UNKNOWN_TOOL = "unknown_tool"
    BAD_ARGUMENTS = "bad_arguments"
    INFRASTRUCTURE = "infrastructure"
    """The call could not be run, through no fault of the program; retried, never shown to the model."""

    @property
    def is_error(self) -> bool:
        """Whether RoC counts it as a tool error of the model."""
        return self in _MODEL_ERRORS


_MODEL_ERRORS = frozenset(
    {
        ToolStatus.EXCEPTION,
        ToolStatus.TIME_LIMIT,
        ToolStatus.MEMORY_LIMIT,
        ToolStatus.MALFORMED,
        ToolStatus.UNKNOWN_TOOL,
        ToolStatus.BAD_ARGUMENTS,
    }
)


class Ending(StrEnum):
    """Why a rollout ended."""

    FINISHED = "finished"
    """A turn without a tool call."""
    TURN_LIMIT = "turn_limit"
    TOKEN_LIMIT = "token_limit"


class FinishReason(StrEnum):
    """Why a generation ended."""

    STOP = "stop"
    LENGTH = "length"
    RELEASED = "released"
    """Its rollout was released meanwhile: the tokens are good, and the turn may go on from them elsewhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A question with a checkable answer."""

    id: str
    """Unique and stable over runs: a resume knows consumed problems by it."""
    question: str
    answer: str
    task: str = ""
    """Family of the problem (`gcd`, `aime24`), for tables by task."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """A well-formed call: a known tool with arguments that fit its schema."""

    name: str
    arguments: str
    """A JSON object as text, keys sorted, so that equal arguments are equal texts."""

    @classmethod
    def of(cls, name: str, arguments: Mapping[str, object]) -> Self:
        """The call with these JSON values; ValueError if one of them is an infinite number or none."""
        text = json.dumps(arguments, ensure_ascii=False, sort_keys=True, allow_nan=False)
        return cls(name=name, arguments=text)

    @property
    def values(self) -> dict[str, object]:
        """The arguments by name."""
        values: dict[str, object] = json.loads(self.arguments)
        return values

    @property
    def readable(self) -> str:
        """What a person wants to see of it: the program and its input where there is one, else all of it."""
        values = self.values
        code, stdin = values.get("code"), values.get("input")
        if not isinstance(code, str):
            return f"{self.name} {self.arguments}"
        return f"{code}\n\nstdin:\n{stdin}" if stdin else code


@dataclass(frozen=True, slots=True, kw_only=True)
class MalformedCall:
    """Something that was meant as a tool call and is not one."""

    status: ToolStatus
    """`MALFORMED`, `UNKNOWN_TOOL` or `BAD_ARGUMENTS`."""
    reason: str
    """One sentence, shown to the model."""


class JobKind(StrEnum):
    """What a program is run for; it decides who waits for whom, and nothing else."""

    TOOL = "tool"
    VERIFICATION = "verification"
    """Of an answer; goes before tool calls of the same client, as a whole group waits for its last reward."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """One job for a sandbox."""

    code: str
    stdin: str = ""
    files: tuple[tuple[str, bytes], ...] = ()
    """(path, content) of what lies in the working directory when it starts; paths are relative to it."""
    fetch_files: tuple[str, ...] = ()
    """Paths relative to the working directory whose content is wanted when it has ended."""
    kind: JobKind = JobKind.TOOL
    wants_value: bool = True
    """Whether its last expression has a value, as a notebook cell's has; False for what is a mere script."""
    time_limit_s: float = 4.0
    """Wall-clock limit; CPU time is held to the same number, rounded up to whole seconds."""
    memory_limit_mb: int = 512
    output_limit_chars: int = 4000
    """Kept per stream, half from the head and half from the tail."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolResult:
    """What became of one program, or of a call of any other tool, which has only some of these."""

    status: ToolStatus
    stdout: str = ""
    stderr: str = ""
    """What the program wrote to stderr; on an exception it ends with the traceback."""
    value: str | None = None
    """repr of the last expression, as IPython shows it; None if there is none or it is None."""
    wall_s: float = 0.0
    cpu_s: float = 0.0
    exit_code: int | None = None
    """0 for a normal end; None when the program was stopped by a limit."""
    files: tuple[tuple[str, bytes], ...] = ()
    """(path, content) of those of `Program.fetch_files` that are there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A run of tokens by one writer; a rollout is their concatenation and only ever grows."""

    source: Source
    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...] = ()
    """Of each token under the policy that sampled it, nats; empty unless `source` is MODEL."""
    version: int = -1
    """Weight version that sampled it; -1 unless `source` is MODEL."""

    def __post_init__(self) -> None:
        assert len(self.logprobs) == (len(self.token_ids) if self.source is Source.MODEL else 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One assistant turn: what it wrote, what it called, what came back."""

    text: str
    call: ToolCall | MalformedCall | None = None
    result: ToolResult | None = None
    """None without a well-formed call, and in the last allowed turn, whose call is not executed. A result for
    which the rollout has no room left is here, and counts, but the model never sees it."""

    @property
    def status(self) -> ToolStatus | None:
        """Status of this turn's call; None without an answered call."""
        if isinstance(self.call, MalformedCall):
            return self.call.status
        return self.result.status if self.result is not None else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """One finished attempt at a problem."""

    problem_id: str
    index: int
    """Position in its group, 0 to 2G-1."""
    segments: tuple[Segment, ...]
    turns: tuple[Turn, ...]
    ending: Ending
    answer: str | None
    """Inside of the last boxed expression in the last closed answer block of model-written text."""
    num_answers: int
    """Closed answer blocks in model-written text."""

    @property
    def token_ids(self) -> tuple[int, ...]:
        return tuple(t for s in self.segments for t in s.token_ids)

    @property
    def num_response_tokens(self) -> int:
        """Tokens after the prompt, tool responses included: what the token budget counts."""
        return sum(len(s.token_ids) for s in self.segments if s.source is not Source.PROMPT)

    @property
    def num_model_tokens(self) -> int:
        return sum(len(s.token_ids) for s in self.segments if s.source is Source.MODEL)

    @property
    def call_statuses(self) -> tuple[ToolStatus, ...]:
        """One status per answered or malformed call, in order."""
        return tuple(s for t in self.turns if (s := t.status) is not None)

    @property
    def num_tool_errors(self) -> int:
        return sum(s.is_error for s in self.call_statuses)


@dataclass(frozen=True, slots=True, kw_only=True)
class GradedRollout:
    """A rollout with its outcome reward."""

    rollout: Rollout
    reward: float
    """1.0 or 0.0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """All graded rollouts of one problem in one step."""

    problem: Problem
    rollouts: tuple[GradedRollout, ...]
    num_dropped: int = 0
    """Rollouts lost to infrastructure after retries; never scored."""

    @property
    def rewards(self) -> tuple[float, ...]:
        return tuple(r.reward for r in self.rollouts)

    @property
    def is_degenerate(self) -> bool:
        """All rewards equal: no advantage can be learned from it."""
        return len(set(self.rewards)) < 2


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainSample:
    """One sequence to learn from."""

    token_ids: tuple[int, ...]
    loss_mask: tuple[bool, ...]
    """True where the token itself is a target of the loss (model-written); never at position 0."""
    logprobs: tuple[float, ...]
    """Sampling log-probs, nats, 0.0 where `loss_mask` is False; all 0.0 for supervised samples."""
    advantage: float = 1.0
    """One number for all tokens of the sample; 1.0 for supervised samples."""
    prompt_length: int = 0
    """Leading tokens shared by all samples with the same `group_id`."""
    group_id: str = ""

    def __post_init__(self) -> None:
        assert len(self.token_ids) == len(self.loss_mask) == len(self.logprobs)
        assert not self.loss_mask or not self.loss_mask[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineLoad:
    """What an engine can truthfully say of itself now."""

    kv_tokens_total: int
    kv_tokens_reserved: int
    """Taken by admitted requests and held prefixes; never above the total."""
    num_running: int
    num_waiting: int
    version: int
    kv_tokens_used: int = 0
    """Tokens whose keys and values are there now, of running rollouts and of kept prefixes."""
    num_steps: int = 0
    """Forwards with the present weights in which rows decoded: tokens of a row that ran throughout."""
    context_tokens: int | None = None
    """Most that one rollout may come to, where that is less than all the room."""

    @property
    def kv_tokens_free(self) -> int:
        return self.kv_tokens_total - self.kv_tokens_reserved

    @property
    def max_total_tokens(self) -> int:
        """Of the longest request that is not refused."""
        return self.kv_tokens_total if self.context_tokens is None else self.context_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenScore:
    """What a policy thinks of one given token."""

    logprob: float
    entropy_nats: float


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationRequest:
    """One turn to be written by an engine."""

    rollout_id: str
    """Key of the KV prefix that the engine may keep between turns of one rollout."""
    group_id: str
    """Requests of one group share the first `prompt_length` tokens; the engine prefills them once."""
    token_ids: tuple[int, ...]
    """Everything so far: prompt, earlier turns, tool responses."""
    prompt_length: int
    max_new_tokens: int
    max_total_tokens: int
    """Longest this rollout may ever become, prompt included: an engine must have so much room in all."""
    temperature: float
    top_p: float
    seed: int
    """Of this rollout; the engine's draws depend only on it and on the token position."""
    is_reserved: bool = False
    """Whether its sender keeps KV room for it on this engine, which then need not guess its growth."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """What an engine wrote; ends with the stop token when `finish` is STOP."""

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    finish: FinishReason
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StepReport:
    """What one optimizer step did."""

    metrics: tuple[tuple[str, float], ...]
    """(name, value) pairs, ready for telemetry."""

    def __getitem__(self, name: str) -> float:
        return dict(self.metrics)[name]
