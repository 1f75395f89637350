import asyncio
import json
from pathlib import Path
from typing import Any

from aiohttp.test_utils import TestClient, TestServer

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
            return json.loads(await (await client.get(f"/changes?have={','.join(have.values())}")).text())

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
        for path in ("/", "/changes"):
            reply = await client.get(path, headers={"Host": "evil.example"})
            assert reply.status == 403
        assert (await client.get("/changes", headers={"Host": "localhost:1"})).status == 200

    talk(tmp_path / "run", conversation)
