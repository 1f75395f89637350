"""The agent loop over a scripted engine, which loses some of it, and is started again."""

import asyncio
from pathlib import Path

import pytest

from rstar2.engines.scripted import ScriptedEngine
from rstar2.errors import InfrastructureError, SandboxError
from rstar2.evaluation.attempts import Attempt, Record
from rstar2.evaluation.play_benchmark import play_benchmark
from rstar2.evaluation.transcripts import Transcripts
from rstar2.protocol.template import Template, call_text, chatml_template
from rstar2.protocol.tokenizer import train_tokenizer
from rstar2.rewards.outcome import OutcomeGrader
from rstar2.rollout.agent import RolloutLimits
from rstar2.rollout.collector import Collector
from rstar2.rollout.dispatcher import Dispatcher
from rstar2.rollout.pacing import FreePacer
from rstar2.tools import Registry
from rstar2.tools.python_code import ProgramLimits, python_tool
from rstar2.types import GenerationRequest, Problem, Program, ToolResult, ToolStatus

NUM_ROLLOUTS = 3
LIMITS = RolloutLimits(max_response_tokens=2000, max_turns=3, temperature=0.6)
INTEGER = Problem(id="i", question="What is 2 times 3?", answer="6", task="aime24")
LETTER = Problem(id="l", question="Which?\n\nA) one\nB) two", answer="B", task="gpqa-diamond")
HARD = Problem(id="h", question="What is 1 + 1?", answer="3", task="aime24")
PROBLEMS = (INTEGER, LETTER, HARD)


class FailingPrograms:
    """A sandbox in which every program raises."""

    async def run(self, program: Program) -> ToolResult:
        if program.code != "boom":
            raise SandboxError("only the tool is here")
        return ToolResult(status=ToolStatus.EXCEPTION, stderr="NameError: boom")

    async def close(self) -> None: ...


@pytest.fixture(scope="module")
def template() -> Template:
    tokenizer = train_tokenizer(["What is 2 times 3?"] * 9, vocab_size=300, chat_template=chatml_template())
    return Template(tokenizer, system="", user="{question}")


def answers(template: Template, request: GenerationRequest) -> tuple[int, ...]:
    """The first rollout of a problem slips once; the last gives no answer."""
    _, problem, index = request.rollout_id.rsplit("/", 2)
    is_first_turn = len(request.token_ids) == request.prompt_length
    text = "</reason><answer>\\boxed{" + {"i": "06", "l": "\\text{(B)}", "h": "2"}[problem] + "}</answer>"
    if index == "0" and is_first_turn:
        text = "</reason>" + call_text("boom")
    if index == "2":
        text = "</reason>I do not know."
    return (*template.tokenizer.encode(text), template.tokenizer.eos_token_id)


def played(template: Template, folder: Path, *, failing: str = "") -> tuple[list[list[Record]], int, int]:
    """(records, rollouts that were advanced, rollouts that were really played).

    `failing` are the problems, by the letter of each, that the engine fails at.
    """
    engine = ScriptedEngine(
        lambda request: answers(template, request),
        is_failure=lambda request: request.group_id in failing,
    )
    sandbox = FailingPrograms()
    limits = ProgramLimits(time_limit_s=1.0, memory_limit_mb=64, output_limit_chars=100)
    collector = Collector(
        template=template,
        dispatcher=Dispatcher([engine]),
        tools=Registry([python_tool(sandbox, limits)]),
        grader=OutcomeGrader(sandbox),
        pacer=FreePacer(),
        run_seed=1,
    )
    advanced: list[int] = []

    async def run() -> list[list[Record]]:
        try:
            return await play_benchmark(
                PROBLEMS,
                num_rollouts=NUM_ROLLOUTS,
                limits=LIMITS,
                collector=collector,
                tokenizer=template.tokenizer,
                transcripts=Transcripts(folder, {}),
                advance=lambda: advanced.append(1),
            )
        finally:
            await engine.close()

    records = asyncio.run(run())
    return records, len(advanced), len({request.rollout_id for request in engine.requests})


def test_integers_and_letters_are_graded_and_recoveries_seen(template, tmp_path):
    records, num_advanced, num_played = played(template, tmp_path)
    attempts = [[Attempt.of(record) for record in of_problem] for of_problem in records]
    assert [[a.reward for a in row] for row in attempts] == [[1, 1, 0], [1, 1, 0], [0, 0, 0]]
    assert [[a.num_errors for a in row] for row in attempts] == [[1, 0, 0]] * 3
    assert num_advanced == num_played == 9


def test_a_second_start_plays_nothing_and_finds_the_same(template, tmp_path):
    first, _, _ = played(template, tmp_path)
    again, num_advanced, num_played = played(template, tmp_path)
    assert (again, num_advanced, num_played) == (first, 9, 0)


def test_a_problem_that_is_lost_costs_no_other_and_is_played_again(template, tmp_path):
    whole, _, _ = played(template, tmp_path / "whole")
    rest, num_advanced, _ = played(template, tmp_path / "lossy", failing="h")
    assert (rest, num_advanced) == ([*whole[:2], []], 9)
    mended, num_advanced, num_played = played(template, tmp_path / "lossy")
    assert (mended, num_advanced, num_played) == (whole, 9, NUM_ROLLOUTS)


def test_a_benchmark_of_which_nothing_is_left_says_why(template, tmp_path):
    with pytest.raises(InfrastructureError, match=r"every rollout of benchmark was lost.*the engine failed"):
        played(template, tmp_path, failing="ilh")


def test_only_the_problems_that_are_missing_are_played(template, tmp_path):
    played(template, tmp_path)
    (kept,) = tmp_path.glob("0002-*.jsonl")
    kept.unlink()
    _, _, num_played = played(template, tmp_path)
    assert num_played == NUM_ROLLOUTS
    assert kept.exists()
