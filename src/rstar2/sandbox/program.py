"""Runs one program the way a notebook cell runs, inside the process that was forked for it.

The program is `__main__`, reads its stdin to the end, and the repr of its last expression is reported, once
evaluated. Output is unbuffered: what was printed before a crash, an `os._exit` or a kill is not lost.
Everything here runs with the program's own rights; nothing of it is trusted by anyone outside.
"""

import ast
import atexit
import builtins
import io
import linecache
import logging
import os
import random
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from types import CodeType, ModuleType, TracebackType
from typing import NoReturn

from rstar2.sandbox import parcel
from rstar2.sandbox.wire import REPORT_OUT_OF_MEMORY, REPORT_VALUE

FILE_NAME = "<code>"
"""What tracebacks call the program."""
CELL_NAME = "<cell {number}>"
"""What they call a cell of a session."""
_PROGRAM_NAMES = (FILE_NAME, CELL_NAME.partition(" ")[0])

_NUM_REHEARSALS = 20
_num_at_exit_in_mother = 0

_LAST_VALUE = "_"
"""The last expression is assigned to this name, as an interactive interpreter does."""


def prepare() -> None:
    """In the mother: what is the same for every program, so that no child has to do it.

    The streams are bound to descriptor numbers, which each child fills with its own. Everything that a short
    program needs is used a few times, until the interpreter has specialised it: what a child has no reason
    to write to, it need not copy.
    """
    global _num_at_exit_in_mother
    _num_at_exit_in_mother = _num_at_exit()
    _open_streams()
    sys.argv = sys.orig_argv = [FILE_NAME]
    sys.excepthook = _show_exception
    for _ in range(_NUM_REHEARSALS):
        code, _ = _compiled("x = 0\n1 / x", FILE_NAME)
        try:
            exec(code, {})
        except ZeroDivisionError as error:
            traceback.format_exception(error)


def run_program(code_fd: int, report_fd: int, files_fd: int | None, largest_value_bytes: int) -> NoReturn:
    """Run the program in `code_fd` on the descriptors 0, 1 and 2, and leave the process."""

    def run() -> None:
        if files_fd is not None:
            parcel.put_files_here(files_fd)
            os.close(files_fd)
        source = read_source(code_fd)
        os.close(code_fd)
        execute(source, FILE_NAME, new_main(), report_fd, largest_value_bytes)

    leave(exit_code_of(run, report_fd), report_fd)


def leave(exit_code: int, report_fd: int) -> NoReturn:
    """End the process as an interpreter ends."""
    exit_code = exit_code_of(_finish, report_fd) or exit_code
    os._exit(exit_code & 0xFF)


def read_source(code_fd: int) -> str:
    """Without the mark that some editors begin a file with."""
    return parcel.read_whole(code_fd).decode("utf-8", "surrogatepass").removeprefix("\ufeff")


def _open_streams() -> None:
    open_stdin()
    stdout = _unbuffered(1, errors="strict")
    stderr = _unbuffered(2, errors="backslashreplace")
    vars(sys).update(stdout=stdout, __stdout__=stdout)
    vars(sys).update(stderr=stderr, __stderr__=stderr)


def open_stdin() -> None:
    """A fresh one: nothing is left in its buffer."""
    stdin = io.TextIOWrapper(io.BufferedReader(io.FileIO(0, closefd=False)), encoding="utf-8")
    vars(sys).update(stdin=stdin, __stdin__=stdin)


def _unbuffered(fd: int, *, errors: str) -> io.TextIOWrapper:
    """What `python -u` gives: every write reaches the descriptor before it returns."""
    raw = io.FileIO(fd, "w", closefd=False)
    return io.TextIOWrapper(raw, encoding="utf-8", errors=errors, write_through=True)


def seed_randomness(seed: int | None) -> None:
    """The global generators: of the standard library, and of what the mother loaded; None: at random.

    numpy gets 32 bits: seeding from an integer touches a third of the memory pages that `seed()` does.
    """
    random.seed(seed)
    if (numpy_random := sys.modules.get("numpy.random")) is not None:
        numpy_random.seed(int.from_bytes(os.urandom(4)) if seed is None else seed)
    if (sympy_random := sys.modules.get("sympy.core.random")) is not None:
        sympy_random.seed(seed)


def new_main() -> ModuleType:
    """An empty `__main__`, which imports from the working directory first, as scripts and notebooks do.

    Its `__builtins__` is the module, as in an interpreter; `exec` alone would put the module's names there.
    """
    sys.path.insert(0, "")
    main = sys.modules["__main__"] = ModuleType("__main__")
    vars(main)["__builtins__"] = builtins
    return main


def execute(source: str, file_name: str, main: ModuleType, report_fd: int, largest_value_bytes: int) -> None:
    """Run the source in `main` and report the value of its last expression, if any of it may be."""
    lines = list(io.StringIO(source + "\n", newline=None))
    linecache.cache[file_name] = (len(source), None, lines, file_name)
    code, has_value = _compiled(source, file_name)
    exec(code, main.__dict__)
    if has_value and largest_value_bytes and (value := main.__dict__.get(_LAST_VALUE)) is not None:
        text = repr(value).encode("utf-8", "backslashreplace")
        os.pwrite(report_fd, REPORT_VALUE + text[:largest_value_bytes], 0)


def _compiled(source: str, file_name: str) -> tuple[CodeType, bool]:
    """Code of the whole source, and whether it ends in an expression (then it assigns that to a name).

    One code object rather than two, so that `from __future__` imports hold for the last line as well.
    """
    tree = ast.parse(source, file_name)
    last = tree.body[-1] if tree.body else None
    if isinstance(last, ast.Expr):
        target = ast.Name(_LAST_VALUE, ast.Store())
        tree.body[-1] = ast.fix_missing_locations(ast.copy_location(ast.Assign([target], last.value), last))
    return compile(tree, file_name, "exec", dont_inherit=True), isinstance(last, ast.Expr)


def _finish() -> None:
    """The normal end of an interpreter: threads, exit handlers (multiprocessing joins there), `__main__`.

    What `__main__` lets go of is closed: a file that the program only wrote to, its own kind of stdout.
    """
    if _has_work_at_exit():
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
    flush()
    main = sys.modules.get("__main__")
    if isinstance(main, ModuleType) and threading.active_count() == 1:  # daemon threads need the names
        main.__dict__.update(dict.fromkeys(name for name in main.__dict__ if name != "__builtins__"))


def flush() -> None:
    """Our own streams are unbuffered; the program may have put others in their place, whatever they do."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):  # it is the program's object: no harm of it is ours
            stream.flush()


def _has_work_at_exit() -> bool:
    """Whether there is more than in a fresh interpreter; to find out costs less than to do nothing."""
    return threading.active_count() > 1 or _num_at_exit() > _num_at_exit_in_mother


def _num_at_exit() -> int:
    """Exit handlers, and what the one of `logging` would flush."""
    return atexit._ncallbacks() + len(logging._handlerList)  # type: ignore[attr-defined]


def exit_code_of(action: Callable[[], None], report_fd: int) -> int:
    """Exit code that `action` asks for, its exception shown as the interpreter would show it."""
    try:
        action()
    except SystemExit as request:
        return _exit_code_of_request(request.code)
    except BaseException as error:
        if isinstance(error, MemoryError):
            os.pwrite(report_fd, REPORT_OUT_OF_MEMORY, 0)
        sys.excepthook(type(error), error, error.__traceback__)
        return 1
    return 0


def _exit_code_of_request(code: object) -> int:
    if code is None:
        return 0
    if isinstance(code, int):
        return code
    print(code, file=sys.stderr)
    return 1


def _show_exception(kind: type[BaseException], error: BaseException, frames: TracebackType | None) -> None:
    """A normal traceback that starts at the program's first frame, with its own source lines."""
    while frames is not None and not frames.tb_frame.f_code.co_filename.startswith(_PROGRAM_NAMES):
        frames = frames.tb_next
    traceback.print_exception(kind, error, frames)
