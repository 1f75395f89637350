import asyncio
import threading
from pathlib import Path
from typing import Any

from aiohttp.test_utils import TestClient, TestServer

from rstar2.evaluation.report import live
from rstar2.evaluation.report.live import live_page
from rstar2.telemetry import JsonLines


def talk(folder: Path, conversation: Any) -> None:
    """Run a conversation with the page's server."""

    async def go() -> None:
        async with TestClient(TestServer(live_page(folder))) as client:
            await conversation(client)

    asyncio.run(go())


def append_step(folder: Path, step: int) -> None:
    folder.mkdir(exist_ok=True)
    JsonLines(folder / "metrics.jsonl").append({"phase": "sft", "step": step, "loss": 1.0 / step})


def test_a_page_has_every_part_once_and_then_only_what_changed(tmp_path):
    async def conversation(client: TestClient[Any, Any]) -> None:
        async def changes(have: dict[str, str]) -> Any:
            return await (await client.post("/changes", data=",".join(have.values()))).json()

        nothing = await changes({})
        assert nothing == {"digests": {}, "changed": {}}
        append_step(tmp_path / "run", 1)
        first = await changes({})
        assert first["changed"].keys() == first["digests"].keys() >= {"about", "charts"}
        append_step(tmp_path / "run", 2)
        second = await changes(first["digests"])
        assert second["changed"].keys() == {"about", "charts"}
        assert second["changed"]["charts"][0]["lines"][0]["points"] == [[1, 1.0], [2, 0.5]]
        assert (await changes(second["digests"]))["changed"] == {}

    talk(tmp_path / "run", conversation)


def test_the_page_may_talk_to_its_own_server_and_nobody_else(tmp_path):
    async def conversation(client: TestClient[Any, Any]) -> None:
        page = await (await client.get("/")).text()
        assert "default-src 'none'; connect-src 'self'" in page
        assert "<title>run - rstar2</title>" in page

    talk(tmp_path / "run", conversation)


def test_a_site_that_calls_itself_by_another_name_is_refused(tmp_path):
    async def conversation(client: TestClient[Any, Any]) -> None:
        append_step(tmp_path / "run", 1)
        for method, path in (("GET", "/"), ("POST", "/changes")):
            reply = await client.request(method, path, headers={"Host": "evil.example"})
            assert reply.status == 403
        assert (await client.post("/changes", headers={"Host": "localhost:1"})).status == 200

    talk(tmp_path / "run", conversation)


class LongRun:
    """Has very many parts."""

    def __init__(self, folder: Path) -> None:
        self._parts = {f"rollouts/rl1/{step}": f"[{step}]" for step in range(700)}

    def read(self) -> dict[str, str]:
        return self._parts


def test_the_page_of_a_long_run_can_name_all_that_it_has(tmp_path, monkeypatch):
    monkeypatch.setattr(live, "RunParts", LongRun)

    async def conversation(client: TestClient[Any, Any]) -> None:
        first = await (await client.post("/changes")).json()
        assert len(first["changed"]) == 700
        second = await client.post("/changes", data=",".join(first["digests"].values()))
        assert second.status == 200
        assert (await second.json())["changed"] == {}

    talk(tmp_path, conversation)


class SlowRun:
    """Reads until it is told to go on, and counts how many read at a time."""

    def __init__(self, folder: Path) -> None:
        self.num_inside = self.most_inside = 0
        self.has_begun, self.may_end = threading.Event(), threading.Event()

    def read(self) -> dict[str, str]:
        self.num_inside += 1
        self.most_inside = max(self.most_inside, self.num_inside)
        self.has_begun.set()
        self.may_end.wait(10)
        self.num_inside -= 1
        return {}


def test_a_page_that_is_reloaded_does_not_read_beside_the_request_that_it_gave_up(tmp_path, monkeypatch):
    run = SlowRun(tmp_path)
    monkeypatch.setattr(live, "RunParts", lambda folder: run)

    async def conversation(client: TestClient[Any, Any]) -> None:
        first = asyncio.create_task(client.post("/changes"))
        await asyncio.to_thread(run.has_begun.wait, 10)
        first.cancel()
        second = asyncio.create_task(client.post("/changes"))
        await asyncio.sleep(0.1)
        run.may_end.set()
        assert (await second).status == 200

    talk(tmp_path, conversation)
    assert run.most_inside == 1
