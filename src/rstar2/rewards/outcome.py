r"""The outcome reward: 1.0 if the answer is right, else 0.0; nothing for style, length or effort.

Integers and letters of choices are compared here; anything else by math-verify in the sandbox, if the label
is an integer only what states a number. When that comes to no verdict, a control decides whose fault it is:
the label compared with itself. If the control fails too, the verifier is sick: an InfrastructureError and
never a 0.0, as a verifier that fails silently would teach that every answer is wrong. If it succeeds, the
answer cannot be checked: that is a verdict of its own, and earns nothing.
"""

import logging

from rstar2.errors import InfrastructureError, SandboxError
from rstar2.integers import canonical_integer, with_joined_thousands
from rstar2.ports import Sandbox
from rstar2.protocol.answer import last_boxed
from rstar2.rewards.letters import choice_letter
from rstar2.rewards.stated_number import stated_part, states_a_number
from rstar2.rewards.verifier import Verdict, equality_program, verdict_of
from rstar2.types import Ending, Problem, Rollout

_logger = logging.getLogger(__name__)

_LONGEST_ANSWER_CHARS = 500
"""Longer answers that are no integer are wrong without being read: no label looks so."""

_CONTROL_SHARE = 0.5
"""Of the time limit, for the control: a machine so slow that it could have spoiled the answer fails it."""

_CANARIES = (
    ("42", "42", True),
    ("42", "41", False),
    ("42", "42.0", True),
    ("4", r"\frac{8}{2}", True),
    (r"\frac{1}{2}", "0.5", True),
    ("42", "42.5", False),
    ("42", "41 or 42", False),
    ("42", r"\text{I do not know}", False),
    ("25", "4+21", False),
    ("6", r"\gcd(12,18)", False),
    ("41", "25 16", False),
    (r"\frac{1}{2}", "0.6", False),
    (r"\frac{1}{2}", r"\text{I do not know}", False),
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
        return float(await self.verdict(problem.answer, answer) is Verdict.EQUAL)

    async def verdict(self, truth: str, answer: str) -> Verdict:
        """Whether `answer` means the same as the label; UNDECIDED if a healthy verifier cannot tell.

        Raises InfrastructureError if there is no telling whether the verifier is healthy.
        """
        letter = choice_letter(truth)
        if letter is not None:
            return Verdict.EQUAL if choice_letter(answer) == letter else Verdict.DIFFERENT
        label = canonical_integer(truth)
        if label is not None:
            answer = stated_part(with_joined_thousands(answer))
            if (integer := canonical_integer(answer)) is not None:
                return Verdict.EQUAL if label == integer else Verdict.DIFFERENT
        if not answer.strip() or len(answer) > _LONGEST_ANSWER_CHARS:
            return Verdict.DIFFERENT
        if label is not None and not states_a_number(answer):
            return Verdict.DIFFERENT
        return await self._verified(label or truth, answer)

    async def check_canaries(self) -> None:
        """Grades pairs whose verdicts are known; raises InfrastructureError if the verifier lies."""
        for truth, answer, is_right in _CANARIES:
            expected = Verdict.EQUAL if is_right else Verdict.DIFFERENT
            if (found := await self.verdict(truth, answer)) is not expected:
                raise InfrastructureError(
                    f"the verifier says that {answer!r} is {found} and not {expected} for {truth!r}; "
                    "check the installed math-verify and the sandbox (`rstar2 doctor`)"
                )

    async def _verified(self, truth: str, answer: str) -> Verdict:
        """Failures of the sandbox are tried again; what an answer does to a healthy verifier is not."""
        failure = "the verifier cannot decide that the label is equal to itself"
        for _ in range(self._num_attempts):
            try:
                verdict = await self._compared(truth, answer, self._time_limit_s)
                if verdict is not Verdict.UNDECIDED:
                    return verdict
                if await self._compared(truth, truth, self._time_limit_s * _CONTROL_SHARE) is Verdict.EQUAL:
                    _logger.info("the answer %r to %r cannot be checked: it earns nothing", answer, truth)
                    return Verdict.UNDECIDED
            except SandboxError as error:
                failure = str(error)
        raise InfrastructureError(
            f"no verdict on the answer {answer[:80]!r} for the label {truth[:80]!r} after "
            f"{self._num_attempts} attempts ({failure}); check the sandbox and the label"
        )

    async def _compared(self, truth: str, answer: str, time_limit_s: float) -> Verdict:
        result = await self._sandbox.run(equality_program(truth, answer, time_limit_s=time_limit_s))
        verdict = verdict_of(result)
        if verdict is Verdict.UNDECIDED:
            _logger.debug("comparing %r with %r: %s %s", answer, truth, result.status, result.stderr[-200:])
        return verdict
