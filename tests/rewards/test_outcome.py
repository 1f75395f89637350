import asyncio
import json
import subprocess
import sys

import pytest

from rstar2.errors import InfrastructureError, SandboxError
from rstar2.protocol.answer import extract_answer
from rstar2.rewards.outcome import OutcomeGrader
from rstar2.rewards.verifier import Verdict
from rstar2.sandbox import WorkerPool
from rstar2.types import Ending, Problem, Program, Rollout, ToolResult, ToolStatus, Turn


class ProcessSandbox:
    """Runs a program in a plain child process: no isolation, the same contract."""

    async def run(self, program: Program) -> ToolResult:
        try:
            done = subprocess.run(
                [sys.executable, "-c", program.code],
                input=program.stdin,
                capture_output=True,
                text=True,
                timeout=program.time_limit_s,
            )
        except subprocess.TimeoutExpired:
            return ToolResult(status=ToolStatus.TIME_LIMIT)
        status = ToolStatus.EXCEPTION if done.returncode else ToolStatus.OK
        return ToolResult(status=status, stdout=done.stdout, stderr=done.stderr)

    async def close(self) -> None: ...


class ScriptedSandbox:
    """Answers with what it was given, in order, and counts."""

    def __init__(self, *outcomes: ToolResult | SandboxError) -> None:
        self.outcomes = list(outcomes)
        self.programs: list[Program] = []

    async def run(self, program: Program) -> ToolResult:
        self.programs.append(program)
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, SandboxError):
            raise outcome
        return outcome

    async def close(self) -> None: ...


EQUAL = ToolResult(status=ToolStatus.OK, stdout="equal\n")
DIFFERENT = ToolResult(status=ToolStatus.OK, stdout="different\n")
SLOW = ToolResult(status=ToolStatus.TIME_LIMIT)


def rollout_of(*texts: str, ending: Ending = Ending.FINISHED) -> Rollout:
    answer, num_answers = extract_answer("\n".join(texts))
    turns = tuple(Turn(text=text) for text in texts)
    return Rollout(
        problem_id="p",
        index=0,
        segments=(),
        turns=turns,
        ending=ending,
        answer=answer,
        num_answers=num_answers,
    )


def grade(text: str, *, truth: str = "42", sandbox=None, lenient: bool = False, **rollout) -> float:
    grader = OutcomeGrader(sandbox or ScriptedSandbox(), lenient=lenient)
    problem = Problem(id="p", question="?", answer=truth)
    return asyncio.run(grader.grade(problem, rollout_of(text, **rollout)))


@pytest.mark.parametrize("answer", ["42", "042", "+42", "$42$", " 42 ", r"4\!2"])
def test_the_right_integer_earns_one_without_a_sandbox(answer):
    assert grade(rf"<answer>\boxed{{{answer}}}</answer>") == 1.0


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<answer></answer>",
        r"<answer>\boxed{}</answer>",
        r"<answer>42</answer>",
        r"\boxed{42}",
        r"<answer>\boxed{42}",
        r"<answer>\boxed{-42}</answer>",
        r"<answer>\boxed{42} \boxed{41}</answer>",
        r"<answer>\boxed{42}</answer><answer>\boxed{41}</answer>",
        r"<answer>\boxed{" + "42 or " * 200 + "42}</answer>",
    ],
)
def test_what_is_not_the_right_integer_earns_nothing_without_a_sandbox(text):
    assert grade(text) == 0.0


@pytest.mark.parametrize(
    ("truth", "answer"),
    [
        ("25", "4 + 8 + 9 + 4"),
        ("6", r"\gcd(12, 18)"),
        ("41", "25 16"),
        ("0", r"1\;2\;0"),
        ("0", "-"),
        ("42", r"41 \text{ or 42}"),
        ("42", "x = 40 + 2"),
        ("42", "42 = 40 + 2"),
        ("25", r"4+21\text{ = 3}"),
        ("25", "4+21 = x"),
        ("25", "x=1 or x=25"),
        ("25", "x(4+21) = x"),
    ],
)
def test_an_answer_that_is_still_to_be_calculated_earns_nothing_without_a_sandbox(truth, answer):
    assert grade(rf"<answer>\boxed{{{answer}}}</answer>", truth=truth) == 0.0


@pytest.mark.parametrize(
    "answer", ["m+n=204", r"\theta = 204", r"S_{ABC} = 204", "200 + 4 = 204", "$x = 0204$"]
)
def test_what_is_equal_to_an_integer_needs_no_verifier(answer):
    assert grade(rf"<answer>\boxed{{{answer}}}</answer>", truth="204") == 1.0
    assert grade(rf"<answer>\boxed{{{answer}}}</answer>", truth="203") == 0.0


def test_an_answer_may_be_an_expression_where_the_label_is_no_integer():
    sandbox = ScriptedSandbox(EQUAL)
    assert grade(r"<answer>\boxed{1 + \sqrt{2}}</answer>", truth=r"\sqrt{2} + 1", sandbox=sandbox) == 1.0


def test_the_verifier_reads_thousands_as_one_number():
    sandbox = ScriptedSandbox(EQUAL)
    grade(r"<answer>\boxed{1\,234 \text{ cm}}</answer>", truth="1234", sandbox=sandbox)
    assert json.loads(sandbox.programs[0].stdin) == {"truth": "1234", "answer": r"1234 \text{ cm}"}


def test_a_rollout_cut_off_at_the_token_limit_earns_nothing():
    text = r"<answer>\boxed{42}</answer> but let me check"
    assert grade(text, ending=Ending.TOKEN_LIMIT) == 0.0
    assert grade(text, ending=Ending.TURN_LIMIT) == 1.0


def test_lenient_grading_takes_a_box_outside_of_an_answer_block():
    assert grade(r"It is \boxed{42}.", lenient=True) == 1.0
    assert grade(r"It is 42.", lenient=True) == 0.0
    assert grade(r"\boxed{42} <answer>\boxed{41}</answer>", lenient=True) == 0.0


def test_the_verdict_of_the_sandbox_is_the_reward():
    text = r"<answer>\boxed{84/2}</answer>"
    assert grade(text, sandbox=ScriptedSandbox(EQUAL)) == 1.0
    assert grade(text, sandbox=ScriptedSandbox(DIFFERENT)) == 0.0


UNDECIDED = [
    SLOW,
    ToolResult(status=ToolStatus.MEMORY_LIMIT),
    ToolResult(status=ToolStatus.EXCEPTION, stdout="different\n", stderr="ImportError: math_verify"),
    ToolResult(status=ToolStatus.OK, stdout="equal\nequal\n"),
    ToolResult(status=ToolStatus.OK),
]


def verdict_on_84_halves(*outcomes: ToolResult | SandboxError) -> tuple[Verdict, int]:
    """The verdict, and how many programs were run for it."""
    sandbox = ScriptedSandbox(*outcomes)
    verdict = asyncio.run(OutcomeGrader(sandbox).verdict("42", "84/2"))
    return verdict, len(sandbox.programs)


def test_failures_of_the_sandbox_are_tried_again():
    outcomes = (SandboxError("worker died"), SandboxError("worker died"), EQUAL)
    assert verdict_on_84_halves(*outcomes) == (Verdict.EQUAL, 3)


@pytest.mark.parametrize("outcome", UNDECIDED)
def test_an_answer_that_a_healthy_verifier_cannot_check_is_undecided_at_once(outcome):
    assert verdict_on_84_halves(outcome, EQUAL) == (Verdict.UNDECIDED, 2)


def test_an_answer_that_cannot_be_checked_earns_nothing():
    assert grade(r"<answer>\boxed{84/2}</answer>", sandbox=ScriptedSandbox(SLOW, EQUAL)) == 0.0


def test_the_control_compares_the_label_with_itself_in_half_of_the_time():
    sandbox = ScriptedSandbox(SLOW, EQUAL)
    asyncio.run(OutcomeGrader(sandbox, time_limit_s=6.0).verdict("42", "84/2"))
    _, control = sandbox.programs
    assert json.loads(control.stdin) == {"truth": "42", "answer": "42"}
    assert control.time_limit_s == 3.0


@pytest.mark.parametrize("outcome", [*UNDECIDED, DIFFERENT])
def test_a_sick_verifier_is_tried_again_and_never_a_reward_of_zero(outcome):
    with pytest.raises(InfrastructureError, match="no verdict on the answer '84/2'"):
        verdict_on_84_halves(*[SLOW, outcome] * 3)
    assert verdict_on_84_halves(SLOW, outcome, EQUAL) == (Verdict.EQUAL, 3)


def test_a_sandbox_that_keeps_failing_is_never_a_reward_of_zero():
    with pytest.raises(InfrastructureError, match=r"no verdict .*worker died"):
        verdict_on_84_halves(*[SandboxError("worker died")] * 3)


def test_text_of_the_model_never_becomes_code():
    sandbox = ScriptedSandbox(EQUAL, EQUAL)
    for answer in ("1.0", "'''); print('equal') #"):
        grade(rf"<answer>\boxed{{{answer}}}</answer>", truth=r"\frac{1}{2}", sandbox=sandbox)
    first, second = sandbox.programs
    assert first.code == second.code
    assert "print('equal')" in second.stdin


def test_canaries_pass_with_a_truthful_verifier_and_fail_with_a_lying_one():
    num_verified = 6
    answers = (EQUAL, EQUAL, EQUAL, DIFFERENT, DIFFERENT, DIFFERENT)
    sandbox = ScriptedSandbox(*answers)
    asyncio.run(OutcomeGrader(sandbox).check_canaries())
    assert len(sandbox.programs) == num_verified
    for lie in (EQUAL, DIFFERENT):
        with pytest.raises(InfrastructureError, match="the verifier says"):
            asyncio.run(OutcomeGrader(ScriptedSandbox(*[lie] * num_verified)).check_canaries())


def test_a_verifier_that_cannot_start_is_not_a_lie_but_a_failure():
    with pytest.raises(InfrastructureError, match="no verdict"):
        asyncio.run(OutcomeGrader(ScriptedSandbox(*[SLOW] * 6)).check_canaries())


@pytest.mark.integration
def test_canaries_pass_in_real_processes():
    asyncio.run(OutcomeGrader(ProcessSandbox(), time_limit_s=60.0).check_canaries())


@pytest.mark.integration
@pytest.mark.parametrize(
    ("truth", "answer"),
    [("42", "9^{9999999999}"), (r"\frac{1}{2}", r"\binom{10^9}{5 \cdot 10^8}")],
)
def test_an_answer_that_hangs_the_verifier_is_undecided(truth, answer):
    async def scenario() -> Verdict:
        async with WorkerPool(num_workers=1) as sandbox:
            return await OutcomeGrader(sandbox, time_limit_s=2.0).verdict(truth, answer)

    assert asyncio.run(scenario()) is Verdict.UNDECIDED
