import asyncio
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rstar2.engines.scripted import ScriptedEngine
from rstar2.errors import EngineError, InfrastructureError, SandboxError
from rstar2.protocol.template import TOOL_NAME, Template, call_text
from rstar2.rollout.agent import RolloutLimits
from rstar2.rollout.collector import Collector, rollout_seed
from rstar2.rollout.dispatcher import Dispatcher
from rstar2.rollout.pacing import FreePacer
from rstar2.tools import Registry
from rstar2.tools.calculator import calculator_tool
from rstar2.tools.python_code import ProgramLimits, python_tool
from rstar2.types import (
    GenerationRequest,
    GradedRollout,
    Group,
    Problem,
    Program,
    Rollout,
    ToolResult,
    ToolStatus,
)
from rstar2.weights import MemoryChannel

PROGRAM_LIMITS = ProgramLimits(time_limit_s=3.0, memory_limit_mb=99, output_limit_chars=77)
LIMITS = RolloutLimits(max_response_tokens=300, max_turns=3, temperature=1.0)
CALL = "</reason>" + call_text("print(6)")
ANSWER = "</reason><answer>\\boxed{6}</answer>"


def problems(num: int) -> list[Problem]:
    return [Problem(id=f"p{i}", question="q", answer="6") for i in range(num)]


class Sandbox:
    """Fails as often as it is told, and always at code with "cursed" in it; else prints 6."""

    def __init__(self, num_failures: int = 0) -> None:
        self._num_failures = num_failures
        self.programs: list[Program] = []

    async def run(self, program: Program) -> ToolResult:
        self.programs.append(program)
        await asyncio.sleep(0)
        if len(self.programs) <= self._num_failures or "cursed" in program.code:
            raise SandboxError("a worker died")
        return ToolResult(status=ToolStatus.OK, stdout="6")

    async def close(self) -> None: ...


class Grader:
    """Right is who answers 6; cannot decide for rollouts with these indices."""

    def __init__(self, undecided: frozenset[int] = frozenset()) -> None:
        self._undecided = undecided

    async def grade(self, problem: Problem, rollout: Rollout) -> float:
        await asyncio.sleep(0)
        if rollout.index in self._undecided:
            raise InfrastructureError("no verdict")
        return float(rollout.answer == problem.answer)


def engine_that_calls_then_answers(
    template: Template,
    *,
    kv_tokens: int = 100_000,
    is_failure: Callable[[GenerationRequest], bool] = lambda request: False,
    cursed: str = "nobody",
) -> ScriptedEngine:
    """`cursed` is the end of the id of rollouts whose call no sandbox survives."""
    encode, eos = template.tokenizer.encode, template.tokenizer.eos_token_id
    (has_called,) = encode("<tool_response>")

    def script(request: GenerationRequest) -> list[int]:
        if has_called in request.token_ids:
            return [*encode(ANSWER), eos]
        return [*encode(CALL.replace("6", "cursed") if request.rollout_id.endswith(cursed) else CALL), eos]

    return ScriptedEngine(script, kv_tokens=kv_tokens, is_failure=is_failure)


def collector(
    template: Template,
    *,
    engines: Sequence[ScriptedEngine] = (),
    sandbox: Sandbox | None = None,
    grader: Grader | None = None,
    run_seed: int = 0,
) -> tuple[Collector, Dispatcher]:
    dispatcher = Dispatcher(engines or [engine_that_calls_then_answers(template)])
    made = Collector(
        template=template,
        dispatcher=dispatcher,
        tools=Registry([python_tool(sandbox or Sandbox(), PROGRAM_LIMITS)]),
        grader=grader or Grader(),
        pacer=FreePacer(),
        run_seed=run_seed,
    )
    return made, dispatcher


def collect(
    made: tuple[Collector, Dispatcher],
    num_problems: int = 2,
    num_rollouts: int = 3,
    on_done: Callable[[GradedRollout | None], None] = lambda _: None,
) -> list[Group]:
    async def scenario() -> list[Group]:
        async with asyncio.timeout(10):
            groups = await made[0].collect(
                problems(num_problems), num_rollouts=num_rollouts, limits=LIMITS, label="x", on_done=on_done
            )
        assert all(load.kv_tokens_used == 0 for load in made[1].loads()), "a rollout kept its room"
        return groups

    return asyncio.run(scenario())


def test_every_problem_gets_its_whole_group_in_order(template: Template) -> None:
    done: list[GradedRollout | None] = []
    groups = collect(collector(template), on_done=done.append)
    assert [group.problem for group in groups] == problems(2)
    for group in groups:
        assert [graded.rollout.index for graded in group.rollouts] == [0, 1, 2]
        assert {graded.rollout.problem_id for graded in group.rollouts} == {group.problem.id}
        assert (group.rewards, group.num_dropped) == ((1.0, 1.0, 1.0), 0)
    assert len(done) == 6


def test_a_call_becomes_a_program_with_the_configured_limits(template: Template) -> None:
    sandbox = Sandbox()
    collect(collector(template, sandbox=sandbox), num_problems=1, num_rollouts=1)
    assert sandbox.programs == [
        Program(code="print(6)", stdin="", time_limit_s=3.0, memory_limit_mb=99, output_limit_chars=77)
    ]


def test_a_rollout_uses_two_tools_and_reads_what_each_says(template: Template) -> None:
    encode, eos = template.tokenizer.encode, template.tokenizer.eos_token_id
    turns = [
        '</reason><tool_call>{"name": "calculator", "arguments": {"expression": "2**3 - 4/2"}}</tool_call>',
        '</reason><tool_call>{"name": "calculator", "arguments": {"expression": "9**9**9"}}</tool_call>',
        '</reason><tool_call>{"name": "compass", "arguments": {}}</tool_call>',
        CALL,
        ANSWER,
    ]
    engine = ScriptedEngine({"x/p0/0": [[*encode(turn), eos] for turn in turns]})
    dispatcher = Dispatcher([engine])
    made = Collector(
        template=template,
        dispatcher=dispatcher,
        tools=Registry([python_tool(Sandbox(), PROGRAM_LIMITS), calculator_tool()]),
        grader=Grader(),
        pacer=FreePacer(),
        run_seed=0,
    )
    limits = RolloutLimits(max_response_tokens=2000, max_turns=9, temperature=1.0)
    (group,) = asyncio.run(made.collect(problems(1), num_rollouts=1, limits=limits, label="x"))
    (graded,) = group.rollouts
    assert graded.reward == 1.0
    assert graded.rollout.call_statuses == (
        ToolStatus.OK, ToolStatus.EXCEPTION, ToolStatus.UNKNOWN_TOOL, ToolStatus.OK
    )  # fmt: skip
    shown = template.tokenizer.decode(graded.rollout.token_ids)
    assert "<tool_response>\n6\n</tool_response>" in shown
    assert "tool call failed: a number of more than 12000 bits is too large" in shown
    assert f"there is no tool named 'compass'; use {TOOL_NAME} or calculator" in shown


@settings(max_examples=25, deadline=None)
@given(
    num_problems=st.integers(1, 3),
    num_rollouts=st.integers(1, 4),
    num_failures=st.integers(0, 30),
    undecided=st.frozensets(st.integers(0, 3)),
    kv_tokens=st.integers(500, 1500),
)
def test_each_rollout_is_graded_or_counted_as_dropped_exactly_once(
    template: Template,
    num_problems: int,
    num_rollouts: int,
    num_failures: int,
    undecided: frozenset[int],
    kv_tokens: int,
) -> None:
    done: list[GradedRollout | None] = []
    made = collector(
        template,
        engines=[engine_that_calls_then_answers(template, kv_tokens=kv_tokens)],
        sandbox=Sandbox(num_failures),
        grader=Grader(undecided),
    )
    try:
        groups = collect(made, num_problems, num_rollouts, done.append)
    except InfrastructureError:
        assert set(done) == {None}
    else:
        for group in groups:
            assert len(group.rollouts) + group.num_dropped == num_rollouts
            assert set(group.rewards) <= {1.0}, "a failure of the world was scored"
        assert sum(graded is None for graded in done) == sum(group.num_dropped for group in groups)
    assert len(done) == num_problems * num_rollouts


def test_a_call_is_tried_again_when_the_sandbox_fails(template: Template) -> None:
    made = collector(template, sandbox=Sandbox(num_failures=2))
    (group,) = collect(made, num_problems=1, num_rollouts=1)
    assert group.rewards == (1.0,)
    assert made[0].num_retries == 2


def test_a_rollout_is_dropped_and_counted_when_the_sandbox_fails_for_good(template: Template) -> None:
    sandbox = Sandbox()
    engine = engine_that_calls_then_answers(template, cursed="/1")
    (group,) = collect(collector(template, engines=[engine], sandbox=sandbox), num_problems=1)
    assert [graded.rollout.index for graded in group.rollouts] == [0, 2]
    assert (group.rewards, group.num_dropped) == ((1.0, 1.0), 1)
    assert sum("cursed" in program.code for program in sandbox.programs) == 3


def test_a_rollout_that_cannot_be_graded_is_dropped_never_wrong(template: Template) -> None:
    (group,) = collect(collector(template, grader=Grader(frozenset({1}))), num_problems=1)
    assert [graded.rollout.index for graded in group.rollouts] == [0, 2]
    assert (group.rewards, group.num_dropped) == ((1.0, 1.0), 1)


def test_a_rollout_whose_engine_fails_moves_and_is_kept(template: Template) -> None:
    engines = [
        engine_that_calls_then_answers(template, is_failure=lambda request: True),
        engine_that_calls_then_answers(template),
    ]
    groups = collect(collector(template, engines=engines))
    assert [group.num_dropped for group in groups] == [0, 0]


def test_when_everything_is_lost_the_run_stops_with_the_reason(template: Template) -> None:
    made = collector(template, sandbox=Sandbox(num_failures=10**6))
    with pytest.raises(InfrastructureError, match=r"every rollout of x was lost.*a worker died.*goes on"):
        collect(made)
    made = collector(
        template, engines=[engine_that_calls_then_answers(template, is_failure=lambda request: True)]
    )
    with pytest.raises(InfrastructureError, match="the engine failed"):
        collect(made)


def test_no_problems_make_no_groups(template: Template) -> None:
    assert collect(collector(template), num_problems=0) == []


def test_a_problem_that_comes_twice_makes_two_groups_with_draws_of_their_own(template: Template) -> None:
    async def scenario() -> None:
        engine = engine_that_calls_then_answers(template)
        made, _ = collector(template, engines=[engine])
        groups = await made.collect([*problems(1)] * 2, num_rollouts=2, limits=LIMITS, label="x")
        assert [len(group.rollouts) for group in groups] == [2, 2]
        assert len({request.seed for request in engine.requests}) == 4

    asyncio.run(scenario())


def test_seeds_depend_on_run_occasion_problem_and_index_and_on_nothing_else(template: Template) -> None:
    def seeds(run_seed: int, num_problems: int) -> dict[str, int]:
        engine = engine_that_calls_then_answers(template)
        collect(collector(template, engines=[engine], run_seed=run_seed), num_problems)
        return {request.rollout_id: request.seed for request in engine.requests}

    few, many = seeds(0, 1), seeds(0, 3)
    assert len(set(many.values())) == 9
    assert few == {name: many[name] for name in few}
    assert not set(seeds(1, 1).values()) & set(few.values())


def test_a_seed_is_the_same_in_every_process_and_on_every_machine() -> None:
    """Written down, because a resumed run must draw what the killed one would have drawn."""
    assert rollout_seed(0, "rl1/0/p/0") == 3744516056272642730
    assert all(0 <= rollout_seed(seed, "a") < 2**63 for seed in range(50))


def test_errors_that_are_no_infrastructure_are_never_swallowed(template: Template) -> None:
    class BuggyGrader(Grader):
        async def grade(self, problem: Problem, rollout: Rollout) -> float:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        collect(collector(template, grader=BuggyGrader()), num_problems=1, num_rollouts=1)


def test_a_closed_engine_is_a_lost_rollout_not_a_crash(template: Template) -> None:
    async def scenario() -> None:
        made, dispatcher = collector(template)
        await dispatcher.close()
        with pytest.raises(InfrastructureError, match="closed") as caught:
            await made.collect(problems(1), num_rollouts=1, limits=LIMITS, label="x")
        assert not isinstance(caught.value, EngineError)

    asyncio.run(scenario())


def test_weights_can_be_swapped_as_soon_as_a_collection_was_given_up(template: Template) -> None:
    """One tool call takes a while to end; the rollouts beside it have long ended by then."""

    class SlowToEnd(Sandbox):
        async def run(self, program: Program) -> ToolResult:
            num_rounds = 0 if self.programs else 50
            self.programs.append(program)
            try:
                await asyncio.Event().wait()
            finally:
                for _ in range(num_rounds):  # of the event loop: no clock has a say
                    await asyncio.sleep(0)
            raise AssertionError("nobody lets it go on")

    async def scenario() -> None:
        sandbox = SlowToEnd()
        made, dispatcher = collector(template, sandbox=sandbox)
        playing = asyncio.create_task(made.collect(problems(2), num_rollouts=2, limits=LIMITS, label="x"))
        while len(sandbox.programs) < 4:
            await asyncio.sleep(0)
        playing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await playing
        channel = MemoryChannel()
        channel.put(1, {})
        await dispatcher.adopt(channel, 1)

    asyncio.run(scenario())
