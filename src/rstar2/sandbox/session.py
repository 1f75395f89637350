"""One session: the cells that made its state, and a live process in that state while there is one.

The state can be made again by running the cells again, their output dropped. Knows nothing of other sessions.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import fields

from rstar2.sandbox.history import NEXT, CellResult, History, OutOfStep, PastCell, Place, SessionEnded
from rstar2.sandbox.interpreter import CellEnd, Interpreter
from rstar2.sandbox.slot import SlotDied
from rstar2.types import Program, ToolResult

_NUM_ATTEMPTS = 2

_STARTED_OVER = "[the process of the session has ended; the next cell finds the state from before this one]\n"
_NOT_REPEATED = "[cell {number} could not be run again to rebuild the state: its effects are lost]\n"


class Session:
    """Whoever uses it runs cells only while holding its `turn`, and puts it to sleep only in between."""

    def __init__(self, start: Callable[["Session", int], Awaitable[Interpreter]]) -> None:
        """`start` gives a fresh interpreter for this session with a memory limit, in MiB."""
        self.turn = asyncio.Lock()
        self.history = History()
        self._start = start
        self._memory_limit_mb = 0
        self._interpreter: Interpreter | None = None
        self._has_ended = False

    @property
    def is_live(self) -> bool:
        """Whether there is a process to put to sleep."""
        return self._interpreter is not None

    async def run(self, program: Program, place: Place = NEXT) -> CellResult:
        """Run the next cell, after all earlier ones if need be. The memory limit is the first cell's."""
        if self._has_ended:
            raise SessionEnded
        if place.past is not None:
            await self._start_over(place)
        self.history.check_room(program)
        number = self.history.last_number + 1
        if place.number not in (None, number):
            raise OutOfStep(f"the session's next cell is {number}, not {place.number}; send the past along")
        self._memory_limit_mb = self._memory_limit_mb or program.memory_limit_mb
        cell, lost_cells = PastCell(number, program), list[int]()
        end = await self._end_of(cell, lost_cells)
        self.history.add(cell, is_kept=end.has_survived)
        if not end.has_survived:
            await self.sleep()
        return _cell_result(end, lost_cells)

    async def _start_over(self, place: Place) -> None:
        """From the cells that made the state elsewhere; the next cell rebuilds it here."""
        assert place.past is not None
        await self.sleep()
        last_number = place.past[-1].number if place.past else 0
        self.history = History(place.past, last_number=(place.number or last_number + 1) - 1)
        self._memory_limit_mb = place.past[0].program.memory_limit_mb if place.past else 0

    async def sleep(self) -> None:
        """Let go of the process; the next cell rebuilds the state."""
        interpreter, self._interpreter = self._interpreter, None
        if interpreter is not None:
            await asyncio.shield(asyncio.create_task(interpreter.close()))

    def end(self) -> None:
        """Have the running cell and all that wait raise SessionEnded."""
        self._has_ended = True
        if self._interpreter is not None:
            self._interpreter.stop()

    async def _end_of(self, cell: PastCell, lost_cells: list[int]) -> CellEnd:
        """Run the cell, once more if the sandbox failed. Cancelled, it leaves no trace in the state."""
        if self._interpreter is not None and not self._interpreter.is_alive:
            await self.sleep()  # it did not stand still between its cells
        for attempt in range(1, _NUM_ATTEMPTS + 1):
            try:
                return await self._run_on(self._interpreter or await self._rebuilt(lost_cells), cell)
            except BaseException as error:
                await self.sleep()
                if not isinstance(error, SlotDied) or self._has_ended or attempt == _NUM_ATTEMPTS:
                    raise
        raise AssertionError("unreachable")

    async def _rebuilt(self, lost_cells: list[int]) -> Interpreter:
        """An interpreter that has run all cells; those that end its process this time are dropped."""
        while True:
            self._interpreter = interpreter = await self._start(self, self._memory_limit_mb)
            lost = await self._first_lost(interpreter)
            if lost is None:
                return interpreter
            self.history.drop(lost.number)
            lost_cells.append(lost.number)
            await self.sleep()

    async def _first_lost(self, interpreter: Interpreter) -> PastCell | None:
        """The first of the cells that it does not survive; None if all are well."""
        for cell in self.history.cells:
            if not (await self._run_on(interpreter, cell)).has_survived:
                return cell
        return None

    async def _run_on(self, interpreter: Interpreter, cell: PastCell) -> CellEnd:
        end = None if self._has_ended else await interpreter.run(cell.number, cell.program)
        if end is None or self._has_ended:
            raise SessionEnded
        return end


def _cell_result(end: CellEnd, lost_cells: list[int]) -> CellResult:
    """The result, with what there is to be said of the state."""
    notes = [_NOT_REPEATED.format(number=number) for number in lost_cells]
    notes += [] if end.has_survived else [_STARTED_OVER]
    values = {field.name: getattr(end.result, field.name) for field in fields(ToolResult)}
    values["stderr"] += "".join(notes)
    return CellResult(**values, is_kept=end.has_survived, lost_cells=tuple(lost_cells))
