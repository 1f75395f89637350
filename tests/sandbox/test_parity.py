"""Programs end here as they end in `python -u file`: the same output, the same traceback, the same exit code.

Our child skips what an interpreter does after a fork and at its end, so each case is something that could
depend on that.
"""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rstar2.types import ToolResult

pytestmark = pytest.mark.integration

Run = Callable[..., ToolResult]

STDIN = "one two\nsecond\n"

CASES = {
    "asyncio": """
        import asyncio
        async def f(n): await asyncio.sleep(0.01); return n
        async def g(): print(await asyncio.gather(*map(f, range(3))), await asyncio.to_thread(sum, [1, 2]))
        asyncio.run(g())
        """,
    "asyncio subprocess": """
        import asyncio, sys
        async def g():
            child = await asyncio.create_subprocess_exec(sys.executable, "-c", "print(5)", stdout=-1)
            print((await child.communicate())[0], child.returncode)
        asyncio.run(g())
        """,
    "thread pool that nobody shuts down": """
        from concurrent.futures import ThreadPoolExecutor
        ThreadPoolExecutor(2).submit(print, "in a thread")
        """,
    "process pool": """
        from concurrent.futures import ProcessPoolExecutor
        with ProcessPoolExecutor(2) as pool: print(list(pool.map(abs, range(-3, 3))))
        """,
    "multiprocessing pool": """
        import multiprocessing
        def f(x): return x * x
        with multiprocessing.Pool(2) as pool: print(pool.map(f, range(5)))
        """,
    "multiprocessing queue and exit code": """
        import multiprocessing
        def f(queue): queue.put(multiprocessing.current_process().name); raise SystemExit(4)
        queue = multiprocessing.Queue()
        child = multiprocessing.Process(target=f, args=(queue,))
        child.start(); print(queue.get()); child.join(); print(child.exitcode)
        """,
    "multiprocessing manager": """
        import multiprocessing
        with multiprocessing.Manager() as manager: print(dict(manager.dict(a=1)))
        """,
    "another interpreter": """
        import subprocess, sys
        code = "import sys; print(input() * 2); sys.exit(3)"
        print(subprocess.run([sys.executable, "-c", code], input="ab", text=True, capture_output=True))
        """,
    "alarm": """
        import signal, time
        def late(*_): raise TimeoutError("late")
        signal.signal(signal.SIGALRM, late)
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        try: time.sleep(2)
        except TimeoutError as error: print(error)
        """,
    "input to its end": "print(input('name? ')); print(input()); input()",
    "all ways to read": """
        import sys
        print(input(3).split(), sys.stdin.readline(), sys.stdin.read(), list(sys.stdin), open(0).read())
        """,
    "decimal contexts": """
        import threading
        from decimal import *
        getcontext().prec = 30
        print(Decimal(1) / 3)
        thread = threading.Thread(target=lambda: print(Decimal(1) / 7)); thread.start(); thread.join()
        """,
    "deep recursion": """
        import sys
        sys.setrecursionlimit(10**6)
        def f(n): return 0 if n == 0 else 1 + f(n - 1)
        print(f(20_000))
        """,
    "built-in names behind others": "def total(sum): return __builtins__.sum(sum)\nprint(total([1, 2]))",
    "recursion error": "import sys; print(sys.getrecursionlimit())\ndef f(n): return f(n + 1)\nf(0)",
    "exit": "print(1); exit()",
    "quit": "quit(3)",
    "exit with a text": "import sys; sys.exit('text')",
    "exit below zero": "raise SystemExit(-1)",
    "exit with a float": "raise SystemExit(1.5)",
    "exit in a thread": """
        import sys, threading
        thread = threading.Thread(target=lambda: sys.exit(3)); thread.start(); thread.join(); print("main")
        """,
    "a fork that ends as a program ends": """
        import os, sys
        child = os.fork()
        if child == 0: sys.exit(3)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        """,
    "daemon thread": """
        import threading, time
        threading.Thread(target=lambda: (time.sleep(5), print("never")), daemon=True).start()
        print("end")
        """,
    "exit handlers after threads, in reverse": """
        import atexit, threading, time
        atexit.register(print, "second"); atexit.register(print, "first")
        threading.Thread(target=lambda: (time.sleep(0.05), print("thread"))).start()
        """,
    "what dies with the program": """
        import weakref
        class Dying:
            def __del__(self): print("deleted")
        dying, other = Dying(), Dying()
        weakref.finalize(other, print, "finalized")
        def g():
            try: yield 1
            finally: print("closed")
        generator = g(); next(generator)
        """,
    "stdout of its own": """
        import io, sys
        sys.stdout = io.TextIOWrapper(sys.stdout.buffer, encoding="utf-8")
        print("buffered")
        """,
    "stdout by its number": "import sys\nsys.stdout = open(1, 'w')\nprint('buffered')",
    "stdout that is closed": "import sys\nsys.stdout.close()",
    "a replaced exception hook": "import sys\nsys.excepthook = lambda *error: print('hook', error[1])\n1 / 0",
    "digits of large numbers": "print(len(str(10**4000)))\nstr(10**5000)",
    "chained exceptions": "try: 1 / 0\nexcept ZeroDivisionError as error: raise KeyError('k') from error",
    "exception groups and notes": """
        error = ExceptionGroup("group", [ValueError(1), TypeError("t")])
        error.add_note("note")
        raise error
        """,
    "the last line without an end": "assert 1 == 2, 'no'",
    "lines as Python counts them": "x = '\x0b\x0c\x1c\x85\u2028'\nprint(len(x))\n1 / 0",
    "lines that end as on Windows": "print(1)\r\n1 / 0\r\n",
    "a byte order mark": "\ufeffprint(1)",
    "syntax error": "print(1)\nx = = 2",
    "logging": "import logging\nlogging.warning('w'); logging.getLogger('x').error('e')",
    "warnings": "import warnings\nwarnings.warn('careful')\nwarnings.warn('old', DeprecationWarning)",
    "numpy": """
        import numpy
        numpy.random.seed(0)
        print(numpy.random.rand(2), numpy.array([1.0]) / 0)
        numpy.zeros(3) + numpy.zeros(4)
        """,
    "sympy": "from sympy import *\nx = symbols('x')\nprint(solve(x**2 - 2))\nMatrix([[1, 2]]) ** 2",
    "tests of its own": """
        import unittest
        class Test(unittest.TestCase):
            def test_it(self): self.assertEqual(1, 1)
        unittest.main(argv=["x"])
        """,
    "an absent library": "import no_such_library",
}


def dedented(code: str) -> str:
    """Without the table's own indentation; `textwrap` would change unusual line ends."""
    return re.sub(r"^ {8}", "", code, flags=re.MULTILINE)


def without_chance(text: str) -> str:
    return re.sub(r"0x[0-9a-f]+|Thread-\d+|repeated \d+|in \d\.\d+s", "...", text)


@pytest.mark.parametrize("name", CASES)
def test_a_program_ends_as_it_would_without_us(run: Run, tmp_path: Path, name: str) -> None:
    code = dedented(CASES[name])
    file = tmp_path / "program"
    file.write_bytes(code.encode())
    python = subprocess.run(
        [sys.executable, "-u", file], input=STDIN.encode(), capture_output=True, cwd=tmp_path, env={}
    )
    ours = run(code, stdin=STDIN, wants_value=False, time_limit_s=10.0, output_limit_chars=50_000)
    assert ours.stdout == python.stdout.decode()
    expected = python.stderr.decode().replace(str(file), "<code>")
    assert without_chance(ours.stderr) == without_chance(expected)
    assert ours.exit_code == python.returncode


def test_a_file_that_nobody_closes_is_fetched_whole(run: Run) -> None:
    result = run("file = open('result', 'w')\nfile.write('42')", fetch_files=("result",))
    assert result.files == (("result", b"42"),)
