"""Notebooks of SandboxFusion's clients, in real sessions."""

import asyncio
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from rstar2.sandbox.pool import WorkerPool
from rstar2.sandbox.server.app import make_app
from rstar2.sandbox.server.native import About
from rstar2.sandbox.server.route import SESSIONS
from rstar2.sandbox.service import Service
from rstar2.sandbox.sessions import SessionPool
from rstar2.types import Program


@pytest.fixture
def notebook(runner: asyncio.Runner, pool: WorkerPool):
    """`notebook(*cells, **fields)` gives the answer; no session is left after it."""

    async def post(body: dict[str, object]) -> Any:
        async with SessionPool(pool) as sessions:
            app = make_app(Service(pool, num_workers=2), About(isolation="none"))
            app[SESSIONS] = sessions
            async with (
                TestClient(TestServer(app)) as client,
                client.post("/run_jupyter", json=body) as response,
            ):
                assert response.status == 200
                answer = await response.json()
            assert sessions.num_known == 0
        return answer

    return lambda *cells, **fields: runner.run(post({"cells": cells, **fields}))


def test_cells_share_their_names_and_show_their_values(notebook):
    answer = notebook("a = 123", "a", "print(a)", "import sys; _ = sys.stderr.write('told')")
    assert (answer["status"], answer["driver"]["status"]) == ("Success", "Finished")
    assert answer["cells"] == [
        {"stdout": "", "stderr": "", "display": [], "error": []},
        {"stdout": "", "stderr": "", "display": [{"text/plain": "123"}], "error": []},
        {"stdout": "123\n", "stderr": "", "display": [], "error": []},
        {"stdout": "", "stderr": "told", "display": [], "error": []},
    ]


def test_an_exception_ends_its_cell_only(notebook):
    answer = notebook(
        "import sys; print('e', file=sys.stderr)\nraise ValueError('a: b\\nc')", "1 +", "exit(3)", "5"
    )
    raised, malformed, left, last = answer["cells"]
    assert (raised["stderr"], raised["error"][0]["ename"], raised["error"][0]["evalue"]) == (
        "e\n",
        "ValueError",
        "a: b\nc",
    )
    assert raised["error"][0]["traceback"][0] == "Traceback (most recent call last):"
    assert (malformed["stderr"], malformed["error"][0]["ename"]) == ("", "SyntaxError")
    assert left["error"]
    assert (answer["status"], last["display"]) == ("Success", [{"text/plain": "5"}])


def test_files_are_there_for_the_first_cell_and_come_back_after_the_last(notebook):
    answer = notebook(
        "text = open('in.txt').read()",
        "_ = open('out.txt', 'w').write(text * 2)",
        files={"in.txt": "aGk=", "none": None},
        fetch_files=["out.txt", "missing"],
    )
    assert answer["files"] == {"out.txt": "aGloaQ=="}


def test_the_time_for_all_cells_ends_the_run(notebook):
    answer = notebook("1", "while True: pass", "2", total_timeout=0.5)
    assert (answer["status"], answer["driver"]["status"]) == ("Failed", "TimeLimitExceeded")
    assert (answer["driver"]["return_code"], answer["cells"]) == (None, [])


def test_time_in_the_queue_counts_as_well(runner, pool):
    """The only worker is busy for longer than the notebook may take, and gets none of its cells."""

    async def scenario() -> None:
        async with SessionPool(pool) as sessions:
            service = Service(pool, num_workers=1)
            app = make_app(service, About(isolation="none"), sessions=sessions)
            busy = asyncio.create_task(service.run(Program(code="import time; time.sleep(60)")))
            async with TestClient(TestServer(app)) as client:
                body = {"cells": ["6 * 7"], "total_timeout": 0.2}
                async with client.post("/run_jupyter", json=body) as response:
                    answer = await response.json()
            assert (answer["status"], answer["driver"]["status"]) == ("Failed", "TimeLimitExceeded")
            assert service.num_queued() == 0
            assert not busy.done()
            busy.cancel()

    runner.run(scenario())


def test_a_notebook_that_was_accepted_is_finished_while_the_service_drains(runner, pool):
    async def scenario() -> None:
        async with SessionPool(pool) as sessions:
            service = Service(pool, num_workers=1)
            app = make_app(service, About(isolation="none"), sessions=sessions)
            async with TestClient(TestServer(app)) as client:
                body = {"cells": ["import time; time.sleep(0.2)", "6 * 7"]}
                posted = asyncio.create_task(client.post("/run_jupyter", json=body))
                while not service.num_running:
                    await asyncio.sleep(0.01)
                await service.drain()
                assert sessions.num_known == 0
                answer = await (await posted).json()
                assert answer["cells"][1]["display"] == [{"text/plain": "42"}]
                assert (await client.post("/run_jupyter", json=body)).status == 503

    runner.run(scenario())


def test_the_time_for_a_cell_ends_the_cell(notebook):
    answer = notebook("x = 1\nwhile True: pass", "x", cell_timeout=0.3)
    late, last = answer["cells"]
    assert late["error"][0]["ename"] == "KeyboardInterrupt"
    assert last["display"] == [{"text/plain": "1"}]


def test_what_cannot_be_run_says_why(notebook):
    answer = notebook("1", files={"../x": "aGk="})
    assert (answer["status"], answer["cells"]) == ("SandboxError", [])
    assert "must be relative" in answer["message"]


def test_no_cells_are_no_work(notebook):
    assert (notebook()["status"], notebook()["cells"]) == ("Success", [])


def test_a_service_without_sessions_says_so(talk):
    ((status, answer),) = talk(("/run_jupyter", {"cells": ["1"]}))
    assert (status, answer["status"]) == (200, "SandboxError")
