"""How a session keeps its state: which cells are run again, when, and what is said of it."""

import asyncio
from collections.abc import Callable
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rstar2.errors import SandboxError
from rstar2.sandbox.history import OutOfStep, PastCell, Place, SessionEnded
from rstar2.sandbox.interpreter import CellEnd, Interpreter
from rstar2.sandbox.session import Session
from rstar2.sandbox.slot import SlotDied
from rstar2.types import Program, ToolResult, ToolStatus

Outcome = bool | BaseException
"""Of a cell: whether the process survives it, or what the sandbox raises."""


class ScriptedInterpreters:
    """Starts interpreters that note the numbers of their cells and end each as told."""

    def __init__(self, outcome: Callable[[int, Program], Outcome] = lambda life, program: True) -> None:
        self.lives: list[list[int]] = []
        """Numbers of the cells that each of them ran."""
        self.memory_limits_mb: list[int] = []
        self.num_closed = 0
        self.outcome = outcome

    async def start(self, session: Session, memory_limit_mb: int) -> Interpreter:
        self.lives.append([])
        self.memory_limits_mb.append(memory_limit_mb)
        return cast(Interpreter, _Scripted(self, len(self.lives) - 1))


class _Scripted:
    is_alive = True

    def __init__(self, all_of_them: ScriptedInterpreters, life: int) -> None:
        self._all, self._life = all_of_them, life

    async def run(self, number: int, program: Program) -> CellEnd:
        self._all.lives[self._life].append(number)
        await asyncio.sleep(0)
        outcome = self._all.outcome(self._life, program)
        if isinstance(outcome, BaseException):
            raise outcome
        result = ToolResult(status=ToolStatus.OK, stderr="own words\n", value=str(number))
        return CellEnd(result, has_survived=outcome)

    def stop(self) -> None: ...

    async def close(self) -> None:
        self._all.num_closed += 1


def _run(session: Session, *codes: str) -> list[ToolResult]:
    async def scenario() -> list[ToolResult]:
        return [await session.run(Program(code=code)) for code in codes]

    return asyncio.run(scenario())


class Memory:
    """Starts interpreters whose state is the list of the texts that they ran."""

    def __init__(self) -> None:
        self.is_losing_workers = False
        self.latest: _Remembering | None = None

    async def start(self, session: Session, memory_limit_mb: int) -> Interpreter:
        self.latest = _Remembering(self)
        return cast(Interpreter, self.latest)

    def end_latest(self) -> None:
        """Between its cells."""
        if self.latest is not None:
            self.latest.is_alive = False


class _Remembering:
    def __init__(self, memory: Memory) -> None:
        self._memory, self._state = memory, list[str]()
        self.is_alive = True

    async def run(self, number: int, program: Program) -> CellEnd:
        assert self.is_alive
        if self._memory.is_losing_workers:
            self._memory.is_losing_workers = False
            raise SlotDied("gone")
        self._state.append(program.code)
        result = ToolResult(status=ToolStatus.OK, value=" ".join(self._state))
        return CellEnd(result, has_survived=program.code != "crash")

    async def close(self) -> None: ...


@given(st.lists(st.sampled_from(["a", "b", "c", "crash", "sleep", "end", "lose a worker"]), max_size=30))
def test_the_state_is_made_by_all_surviving_cells_whatever_happens_between_them(events: list[str]) -> None:
    async def scenario() -> None:
        memory, expected = Memory(), list[str]()
        session = Session(memory.start)
        for event in events:
            if event == "sleep":
                await session.sleep()
            elif event == "end":
                memory.end_latest()
            elif event == "lose a worker":
                memory.is_losing_workers = True
            else:
                result = await session.run(Program(code=event))
                assert result.value == " ".join([*expected, event])
                expected += [event] if event != "crash" else []

    asyncio.run(scenario())


def test_cells_run_once_in_one_process_while_it_lives() -> None:
    interpreters = ScriptedInterpreters()
    _run(Session(interpreters.start), "a", "b", "c")
    assert interpreters.lives == [[1, 2, 3]]


def test_after_a_sleep_all_earlier_cells_run_again_first_without_a_word() -> None:
    interpreters = ScriptedInterpreters()
    session = Session(interpreters.start)
    _run(session, "a", "b")
    asyncio.run(session.sleep())
    (result,) = _run(session, "c")
    assert interpreters.lives == [[1, 2], [1, 2, 3]]
    assert (result.value, result.stderr) == ("3", "own words\n")


def test_a_cell_that_ends_the_process_is_not_run_again() -> None:
    interpreters = ScriptedInterpreters(lambda life, program: program.code != "deadly")
    first, deadly, last = _run(Session(interpreters.start), "a", "deadly", "b")
    assert interpreters.lives == [[1, 2], [1, 3]]
    assert "from before this one" in deadly.stderr
    assert (first.stderr, last.stderr) == ("own words\n", "own words\n")
    assert interpreters.num_closed == 1


def test_a_cell_that_dies_only_in_the_replay_is_dropped_and_told_of() -> None:
    interpreters = ScriptedInterpreters(lambda life, program: not (life == 1 and program.code == "b"))
    session = Session(interpreters.start)
    _run(session, "a", "b", "c")
    asyncio.run(session.sleep())
    told, quiet = _run(session, "d", "e")
    assert interpreters.lives == [[1, 2, 3], [1, 2], [1, 3, 4, 5]]
    assert "cell 2 could not be run again" in told.stderr
    assert quiet.stderr == "own words\n"


def test_a_failure_of_the_sandbox_is_made_good_in_another_process() -> None:
    interpreters = ScriptedInterpreters(
        lambda life, program: SlotDied("gone") if life == 0 and program.code == "b" else True
    )
    results = _run(Session(interpreters.start), "a", "b")
    assert interpreters.lives == [[1, 2], [1, 2]]
    assert [result.value for result in results] == ["1", "2"]


def test_a_sandbox_that_keeps_failing_raises_and_the_state_is_kept() -> None:
    is_failing = True
    interpreters = ScriptedInterpreters(
        lambda life, program: SlotDied("gone") if program.code == "b" and is_failing else True
    )
    session = Session(interpreters.start)
    with pytest.raises(SlotDied):
        _run(session, "a", "b")
    is_failing = False
    _run(session, "b")
    assert interpreters.lives == [[1, 2], [1, 2], [1, 2]]


def test_the_memory_limit_is_that_of_the_first_cell() -> None:
    interpreters = ScriptedInterpreters()
    session = Session(interpreters.start)
    for memory_limit_mb in (100, 900):
        asyncio.run(session.run(Program(code="", memory_limit_mb=memory_limit_mb)))
        asyncio.run(session.sleep())
    assert interpreters.memory_limits_mb == [100, 100]


def test_an_ended_session_runs_nothing_more() -> None:
    interpreters = ScriptedInterpreters()
    session = Session(interpreters.start)

    async def scenario() -> None:
        await session.run(Program(code="a"))
        running = asyncio.create_task(session.run(Program(code="b")))
        await asyncio.sleep(0)
        session.end()
        with pytest.raises(SessionEnded):
            await running
        with pytest.raises(SandboxError, match="ended"):
            await session.run(Program(code="c"))

    asyncio.run(scenario())
    assert interpreters.lives == [[1, 2]]
    assert interpreters.num_closed == 1


def test_files_are_put_again_in_a_replay_but_not_fetched() -> None:
    seen: list[Program] = []

    def note(life: int, program: Program) -> bool:
        seen.append(program)
        return True

    session = Session(ScriptedInterpreters(note).start)
    program = Program(code="a", files=(("in", b"content"),), fetch_files=("out",))
    asyncio.run(session.run(program))
    asyncio.run(session.sleep())
    _run(session, "b")
    assert [each.files for each in seen] == [program.files, program.files, ()]
    assert [each.fetch_files for each in seen] == [("out",), (), ()]
    assert session.history.num_bytes > len(b"content")


def test_a_session_can_be_taken_over_from_elsewhere() -> None:
    interpreters = ScriptedInterpreters()
    session = Session(interpreters.start)
    _run(session, "something else", "entirely")
    past = (PastCell(1, Program(code="a", memory_limit_mb=99)), PastCell(4, Program(code="b")))
    result = asyncio.run(session.run(Program(code="c"), Place(number=6, past=past)))
    assert interpreters.lives == [[1, 2], [1, 4, 6]]
    assert interpreters.memory_limits_mb == [512, 99]
    assert (result.value, result.is_kept, result.lost_cells) == ("6", True, ())
    _run(session, "d")
    assert interpreters.lives[-1] == [1, 4, 6, 7]


def test_what_cannot_be_taken_over_is_told_by_number() -> None:
    interpreters = ScriptedInterpreters(lambda life, program: program.code not in "bd")
    past = tuple(PastCell(number, Program(code=code)) for number, code in enumerate("abc", 1))
    session = Session(interpreters.start)
    result = asyncio.run(session.run(Program(code="d"), Place(past=past)))
    assert (result.is_kept, result.lost_cells) == (False, (2,))
    assert "[cell 2 could not be run again" in result.stderr
    assert [cell.program.code for cell in session.history.cells] == ["a", "c"]


def test_a_cell_that_continues_another_state_is_refused_and_runs_nothing() -> None:
    interpreters = ScriptedInterpreters()
    session = Session(interpreters.start)
    _run(session, "a")
    for number in (1, 3):
        with pytest.raises(OutOfStep, match=f"next cell is 2, not {number}"):
            asyncio.run(session.run(Program(code="b"), Place(number=number)))
    assert asyncio.run(session.run(Program(code="b"), Place(number=2))).value == "2"
    assert interpreters.lives == [[1, 2]]
