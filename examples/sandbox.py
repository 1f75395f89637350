"""Programs in the sandbox: a value, an error, a program that never ends, all at the same time.

    python examples/sandbox.py

The pool keeps warm interpreters and forks one child per call. A failing program is a result with a status,
never an exception of ours.
"""

import asyncio

from rstar2.protocol.response import response_text
from rstar2.sandbox import WorkerPool
from rstar2.types import Program

PROGRAMS = {
    "value": "from sympy import factorint\nfactorint(2**32 + 1)",
    "stdin": "print(sum(int(word) for word in input().split()))",
    "error": "def half(n):\n    return n / 0\nhalf(42)",
    "forever": "while True: pass",
    "network": "import urllib.request\nurllib.request.urlopen('http://example.com', timeout=1)",
}


async def main() -> None:
    programs = [Program(code=code, stdin="1 2 3", time_limit_s=1.0) for code in PROGRAMS.values()]
    async with WorkerPool(num_workers=4) as sandbox:
        results = await asyncio.gather(*(sandbox.run(program) for program in programs))
    for name, result in zip(PROGRAMS, results, strict=True):
        print(f"--- {name}: {result.status}, {result.wall_s * 1000:.0f} ms")
        print(response_text(result, max_chars=200))  # what the model reads


if __name__ == "__main__":
    asyncio.run(main())
