import asyncio
from collections.abc import Sequence

import pytest

from rstar2.errors import SandboxError
from rstar2.sandbox.bench.caller import Unanswered
from rstar2.sandbox.bench.overhead import overhead
from rstar2.sandbox.bench.tree import ProcessTree
from rstar2.types import Program, ToolResult


class Deaf:
    batch_size = 1

    async def call(self, programs: Sequence[Program]) -> Sequence[ToolResult]:
        raise Unanswered("HTTP 401: a token is asked for")


def test_a_service_that_does_not_answer_has_no_overhead_and_says_why():
    with pytest.raises(SandboxError, match=r"a trivial program is lost \(HTTP 401: a token is asked for\)"):
        asyncio.run(overhead(Deaf(), ProcessTree(), "trivial", num_calls=3, in_flight=2))
