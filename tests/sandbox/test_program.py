"""What a program sees: a script with stdin whose last expression is its value."""

import random
from collections.abc import Callable

import pytest

from rstar2.types import ToolResult, ToolStatus

Run = Callable[..., ToolResult]


@pytest.mark.parametrize(
    ("code", "value"),
    [
        ("1 + 1", "2"),
        ("x = 3\n[x,\n x]", "[3, 3]"),
        ("x = 3", None),
        ("None", None),
        ("", None),
        ("'a' 'b'", "'ab'"),
        ("from __future__ import annotations\n(lambda: 1)()", "1"),
        ("import numpy\nnumpy.arange(3)", "array([0, 1, 2])"),
        ("import sympy\nsympy.sqrt(8)", "2*sqrt(2)"),
        ("'\\ud800'", "'\\ud800'"),
        ("__name__", "'__main__'"),
        ("import sys; sys.argv", "['<code>']"),
        ("import pickle\nclass A: pass\ntype(pickle.loads(pickle.dumps(A()))) is A", "True"),
        ("import inspect\ndef f(): return 1\ninspect.getsource(f)", "'def f(): return 1\\n'"),
    ],
)
def test_value_is_the_repr_of_the_last_expression(run: Run, code: str, value: str | None) -> None:
    result = run(code)
    assert (result.status, result.value, result.exit_code) == (ToolStatus.OK, value, 0), result


def test_last_expression_is_evaluated_once_even_when_it_raises(run: Run) -> None:
    result = run("def f():\n    print('called')\n    raise ValueError('no')\nf()")
    assert result.status is ToolStatus.EXCEPTION
    assert result.stdout == "called\n"
    assert result.value is None


def test_a_script_has_no_value_and_pays_for_none(run: Run) -> None:
    code = "class Loud:\n    def __repr__(self): print('asked')\nLoud()"
    result = run(code, wants_value=False)
    assert (result.status, result.stdout, result.value) == (ToolStatus.OK, "", None)


def test_traceback_has_the_programs_own_lines_and_no_frames_of_ours(run: Run) -> None:
    result = run("x = 1\ndef half(n):\n    return n / 0\nhalf(x)")
    assert result.stderr == (
        "Traceback (most recent call last):\n"
        '  File "<code>", line 4, in <module>\n'
        "    half(x)\n"
        '  File "<code>", line 3, in half\n'
        "    return n / 0\n"
        "           ~~^~~\n"
        "ZeroDivisionError: division by zero\n"
    )


def test_syntax_error_shows_the_line_and_the_place(run: Run) -> None:
    result = run("a = 1\nb = = 2")
    assert result.status is ToolStatus.EXCEPTION
    assert result.stderr == ('  File "<code>", line 2\n    b = = 2\n        ^\nSyntaxError: invalid syntax\n')


def test_stdin_is_read_to_its_end(run: Run) -> None:
    assert run("print(input()); print(input())", stdin="caf\u00e9\n2\n").stdout == "caf\u00e9\n2\n"


def test_empty_stdin_is_end_of_file(run: Run) -> None:
    assert run("input()").stderr.endswith("EOFError: EOF when reading a line\n")


@pytest.mark.parametrize(
    ("code", "status", "exit_code"),
    [
        ("import sys; sys.exit()", ToolStatus.OK, 0),
        ("import sys; sys.exit(0)", ToolStatus.OK, 0),
        ("exit()", ToolStatus.OK, 0),
        ("import sys; sys.exit(3)", ToolStatus.EXCEPTION, 3),
        ("import sys; sys.exit('why')", ToolStatus.EXCEPTION, 1),
        ("import os; os._exit(4)", ToolStatus.EXCEPTION, 4),
        ("import os; os.kill(os.getpid(), 11)", ToolStatus.EXCEPTION, -11),
        ("import os; os.kill(os.getpid(), 9)", ToolStatus.EXCEPTION, -9),
        ("import ctypes; ctypes.string_at(0)", ToolStatus.EXCEPTION, -11),
        ("raise KeyboardInterrupt", ToolStatus.EXCEPTION, 1),
        ("import warnings; warnings.warn('careful')", ToolStatus.OK, 0),
    ],
)
def test_exit_code_tells_the_status(run: Run, code: str, status: ToolStatus, exit_code: int) -> None:
    result = run(code)
    assert (result.status, result.exit_code) == (status, exit_code), result


def test_endless_recursion_is_an_error_like_any_other(run: Run) -> None:
    assert run("def f(): f()\nf()").stderr.rstrip().split("\n")[-1].startswith("RecursionError")
    code = "import sys; sys.setrecursionlimit(10**9)\ndef f(): f()\nf()"
    assert run(code, memory_limit_mb=64, time_limit_s=1.0).status.is_error


def test_nothing_printed_is_lost_by_an_abrupt_end(run: Run) -> None:
    result = run("import os, sys\nprint('out', end='')\nprint('err', end='', file=sys.stderr)\nos._exit(0)")
    assert (result.stdout, result.stderr) == ("out", "err")


def test_a_death_by_signal_is_told_in_words(run: Run) -> None:
    assert run("import os; os.abort()").stderr == "Aborted (signal 6)\n"


def test_invalid_utf8_is_replaced(run: Run) -> None:
    assert run(r"import os; os.write(1, b'a\xff\0b')").stdout == "a\ufffd\0b"


@pytest.mark.parametrize(
    "code", ["\0", "print('\ud800')", "\ud800", "# coding: nope\n'\u00e9'.encode('nope')"]
)
def test_odd_source_text_is_the_programs_error(run: Run, code: str) -> None:
    assert run(code).status is ToolStatus.EXCEPTION


def test_any_text_gets_an_answer(run: Run) -> None:
    rng = random.Random(0)
    alphabet = "ab1 \n\t()[]{}:=+*'\"\\\0\ud800\u00e9#@;"
    for _ in range(40):
        assert run("".join(rng.choices(alphabet, k=rng.randrange(30)))).status in (
            ToolStatus.OK,
            ToolStatus.EXCEPTION,
        )


def test_threads_and_exit_handlers_finish(run: Run) -> None:
    result = run(
        "import atexit, threading, time\n"
        "atexit.register(print, 'handler')\n"
        "threading.Thread(target=lambda: (time.sleep(0.05), print('thread'))).start()\n"
    )
    assert result.stdout == "thread\nhandler\n"


def test_an_exception_in_an_exit_handler_does_not_undo_the_result(run: Run) -> None:
    assert run("import atexit\natexit.register(lambda: 1 / 0)\n5").value == "5"


def test_multiprocessing_works_and_is_joined(run: Run) -> None:
    result = run(
        "import multiprocessing, time\n"
        "def work(): time.sleep(0.05); print('worker')\n"
        "multiprocessing.Process(target=work).start()\n"
        "with multiprocessing.Pool(2) as pool: print(pool.map(abs, [-1, -2]))\n"
    )
    assert sorted(result.stdout.splitlines()) == ["[1, 2]", "worker"], result


def test_what_a_program_leaves_to_be_logged_at_its_end_is_logged(run: Run) -> None:
    result = run(
        "import logging, logging.handlers\n"
        "keeper = logging.handlers.MemoryHandler(1000, target=logging.StreamHandler())\n"
        "logging.getLogger().addHandler(keeper)\n"
        "logging.warning('kept until the end')"
    )
    assert result.stderr == "kept until the end\n", result


def test_a_program_starts_another_interpreter_and_loads_libraries_that_were_not_there(run: Run) -> None:
    result = run(
        "import subprocess, sys, sqlite3, _json\n"
        "done = subprocess.run([sys.executable, '-c', 'import numpy; print(numpy.arange(3).sum())'], "
        "capture_output=True, text=True)\n"
        "(done.stdout, done.stderr, sqlite3.sqlite_version_info[0])"
    )
    assert result.value == "('3\\n', '', 3)", result


def test_a_database_in_a_file_works_though_locks_of_ranges_are_none(run: Run) -> None:
    result = run(
        "import fcntl, os, sqlite3\n"
        "for mode in 'delete', 'wal':\n"
        "    for n in range(2):\n"
        "        with sqlite3.connect(mode) as base:\n"
        "            base.execute(f'pragma journal_mode = {mode}')\n"
        "            base.execute('create table if not exists t(x)')\n"
        "            base.execute('insert into t values (?)', (n,))\n"
        "    print(base.execute('select x from t').fetchall())\n"
        "def lock(file): fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)\n"
        "with open('f', 'w') as file:\n"
        "    lock(file)\n"
        "    if os.fork() == 0: lock(file); print('never held'); os._exit(0)\n"
        "    os.wait()\n"
    )
    assert result.stdout == "[(0,), (1,)]\n[(0,), (1,)]\nnever held\n", result


def test_random_numbers_differ_between_calls(run: Run) -> None:
    code = (
        "import random, numpy\nfrom sympy.core.random import rng\n"
        "(random.random(), float(numpy.random.rand()), rng.random())"
    )
    first, second = (eval(run(code).value or "") for _ in range(2))
    assert all(one != other for one, other in zip(first, second, strict=True))


def test_math_verify_runs_as_an_ordinary_program(run: Run) -> None:
    code = "from math_verify import parse, verify\nverify(parse('$\\\\frac{1}{2}$'), parse('$0.5$'))"
    assert run(code).value == "True"
