"""The eight seams of the system: who decides sees only these, never a concrete part.

Each is at most five methods. The in-process parts and the cluster parts both fit; `engines/scripted.py`
is a public fake for the widest of them.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from rstar2.types import (
    EngineLoad,
    Generation,
    GenerationRequest,
    MalformedCall,
    Problem,
    Program,
    Rollout,
    StepReport,
    ToolCall,
    ToolResult,
    TrainSample,
)

if TYPE_CHECKING:
    from torch import Tensor


class Tokenizer(Protocol):
    """Text to token ids and back; special tokens in the text are recognised as such."""

    @property
    def eos_token_id(self) -> int: ...

    def encode(self, text: str) -> list[int]: ...

    def decode(self, token_ids: Sequence[int]) -> str:
        """Text of the ids, special tokens included."""


class WeightChannel(Protocol):
    """Carries one version of the policy's weights from the learner to the engines."""

    def put(self, version: int, weights: Mapping[str, "Tensor"]) -> None: ...

    def get(self, version: int) -> Mapping[str, "Tensor"]:
        """The weights of exactly this version; CheckpointError if it is gone or torn."""


class Engine(Protocol):
    """Writes turns."""

    async def generate(self, request: GenerationRequest) -> Generation:
        """One turn; raises CapacityError if it can never fit and EngineError if the engine failed."""

    def release(self, rollout_id: str) -> None:
        """Forget the rollout and free its room; a turn ends with what it has. Unknown ids are ignored."""

    def load(self) -> EngineLoad: ...

    async def adopt(self, channel: WeightChannel, version: int) -> None:
        """Swap weights; every kept prefix of another version is dropped."""

    async def close(self) -> None: ...


class Sandbox(Protocol):
    """Runs programs."""

    async def run(self, program: Program) -> ToolResult:
        """Exactly one result per call. A failure of the sandbox itself raises SandboxError."""

    async def close(self) -> None: ...


class Sessions(Protocol):
    """Runs programs that see what earlier ones of the same session left, as cells of a notebook do."""

    async def run_cell(self, session_id: str, program: Program) -> ToolResult:
        """The next cell of the session, which the first one opens; SandboxError if the sandbox failed."""

    async def end(self, session_id: str) -> None:
        """Forget the session; unknown ids are ignored."""


class Toolbox(Protocol):
    """The tools that rollouts may call."""

    def parse(self, text: str) -> ToolCall | MalformedCall | None:
        """The call made by one assistant turn; None if it makes none."""

    async def call(self, rollout_id: str, call: ToolCall) -> ToolResult:
        """Exactly one result per call; raises InfrastructureError if the world failed it."""

    async def end(self, rollout_id: str) -> None:
        """The rollout makes no more calls: what its tools keep for it may go."""


class Grader(Protocol):
    """Decides the outcome reward."""

    async def grade(self, problem: Problem, rollout: Rollout) -> float:
        """1.0 or 0.0; raises InfrastructureError when it could not be decided."""


class Objective(StrEnum):
    """What a learner step minimises."""

    POLICY = "policy"
    """Clip-higher policy-gradient loss (Eq. 6, arXiv:2508.20722)."""
    LIKELIHOOD = "likelihood"
    """Mean negative log-likelihood of the masked tokens."""


class OptimizerKind(StrEnum):
    """What moves the weights."""

    ADAMW = "adamw"
    MUON = "muon"
    """For the matrices inside the layers; AdamW for everything else."""


class Learner(Protocol):
    """Owns the policy's parameters and optimizer."""

    def step(
        self, *shares: Sequence[TrainSample], objective: Objective, lr: float, temperature: float = 1.0
    ) -> StepReport:
        """One optimizer step per share of a batch, each with one global token denominator; metrics are means.

        The old policy of the loss is the one before the first of these steps. `temperature` is the one that
        the tokens were sampled at: log-probs are of that distribution.
        """

    def publish(self, channel: WeightChannel, version: int) -> None: ...

    def reset_optimizer(self, kind: OptimizerKind = OptimizerKind.ADAMW) -> None:
        """Start with empty moments."""

    def save(self, folder: Path) -> None:
        """Write weights as an HF checkpoint, and the optimizer's state, into an existing empty folder."""

    def restore(self, folder: Path) -> None: ...
