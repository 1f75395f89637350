r"""The outcome reward: 1.0 if the answer is right, else 0.0; nothing for style, length or effort.

Integers are compared here; anything else by math-verify in the sandbox. What could not be decided is an
InfrastructureError and never a 0.0: a verifier that fails silently would teach that every answer is wrong.
"""

import logging

from rstar2.errors import InfrastructureError, SandboxError
from rstar2.integers import canonical_integer
from rstar2.ports import Sandbox
from rstar2.protocol.answer import last_boxed
from rstar2.rewards.verifier import equality_program, verdict
from rstar2.types import Ending, Problem, Rollout, ToolStatus

_logger = logging.getLogger(__name__)

_LONGEST_ANSWER_CHARS = 500
"""Longer answers that are no integer are wrong without being read: no label looks so."""

_CANARIES = (
    ("42", "42", True),
    ("42", "41", False),
    ("42", "42.0", True),
    ("4", r"\frac{8}{2}", True),
    (r"\frac{1}{2}", "0.5", True),
    ("42", "42.5", False),
    ("42", "41 or 42", False),
    ("42", r"\text{I do not know}", False),
)
"""(label, answer, whether it is right)."""


class OutcomeGrader:
    """A `Grader` that needs a sandbox only for answers that are no plain integers."""

    def __init__(
        self, sandbox: Sandbox, *, time_limit_s: float = 10.0, num_attempts: int = 3, lenient: bool = False
    ) -> None:
        r"""`lenient` also takes the last `\boxed{}` outside of any answer block, as the release does."""
        self._sandbox = sandbox
        self._time_limit_s = time_limit_s
        self._num_attempts = num_attempts
        self._lenient = lenient

    async def grade(self, problem: Problem, rollout: Rollout) -> float:
        """1.0 or 0.0; a rollout cut off at the token limit earns 0.0 (Eq. 3, arXiv:2508.20722)."""
        answer = rollout.answer
        if answer is None and self._lenient:
            answer = last_boxed("\n".join(turn.text for turn in rollout.turns))
        if answer is None or rollout.ending is Ending.TOKEN_LIMIT:
            return 0.0
        return float(await self.is_equal(problem.answer, answer))

    async def is_equal(self, truth: str, answer: str) -> bool:
        """Whether `answer` means the same as the label; raises InfrastructureError if undecided."""
        label, integer = canonical_integer(truth), canonical_integer(answer)
        if label is not None and integer is not None:
            return label == integer
        if not answer.strip() or len(answer) > _LONGEST_ANSWER_CHARS:
            return False
        return await self._verified(label or truth, answer)

    async def check_canaries(self) -> None:
        """Grades pairs whose verdicts are known; raises InfrastructureError if the verifier lies."""
        for truth, answer, expected in _CANARIES:
            if await self.is_equal(truth, answer) != expected:
                raise InfrastructureError(
                    f"the verifier says that {answer!r} is {'wrong' if expected else 'right'} for {truth!r}; "
                    "check the installed math-verify and the sandbox (`rstar2 doctor`)"
                )

    async def _verified(self, truth: str, answer: str) -> bool:
        program = equality_program(truth, answer, time_limit_s=self._time_limit_s)
        failure = ""
        for _ in range(self._num_attempts):
            try:
                result = await self._sandbox.run(program)
            except SandboxError as error:
                failure = str(error)
                continue
            equal = verdict(result.stdout)
            if result.status is ToolStatus.OK and equal is not None:
                return equal
            failure = f"{result.status}: {result.stderr.strip()[-200:]}"
            _logger.debug("verification of %r against %r: %s", answer, truth, failure)
        raise InfrastructureError(
            f"no verdict on the answer {answer[:80]!r} for the label {truth[:80]!r} after "
            f"{self._num_attempts} attempts ({failure}); check the sandbox and the label"
        )
