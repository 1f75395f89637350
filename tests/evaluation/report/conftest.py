"""A real browser, driven by its own protocol; and runs to show in it."""

import asyncio
import base64
import itertools
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

_PATIENCE_S = 60.0


class Tab:
    """One page of a headless browser; what it complains of is kept."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count()
        self.complaints: list[str] = []
        """Exceptions, and whatever the console was told."""

    async def open(self, url: str, *, width: int = 1280, dark: bool = False) -> None:
        """At a window's width in CSS pixels; a phone has about 390."""
        await self._do(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=900, deviceScaleFactor=1, mobile=width < 700,
        )  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self._do("Emulation.setEmulatedMedia", features=[scheme])
        await self._do("Page.navigate", url="about:blank")
        await self._do("Page.navigate", url=url)
        await self.until("document.readyState === 'complete' && location.href !== 'about:blank'")

    async def js(self, expression: str) -> Any:
        """Value of an expression on the page."""
        done = await self._do("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in done, done
        return done["result"].get("value")

    async def until(self, condition: str) -> None:
        async with asyncio.timeout(_PATIENCE_S):
            while not await self.js(condition):
                await asyncio.sleep(0.05)

    async def press(self, key: str) -> None:
        typed = {"Enter": "\r"}.get(key, key)
        text = {"text": typed} if len(typed) == 1 else {}
        await self._do("Input.dispatchKeyEvent", type="keyDown", key=key, **text)
        await self._do("Input.dispatchKeyEvent", type="keyUp", key=key)

    async def picture(self, path: Path) -> None:
        """The whole page, however long."""
        shot = await self._do("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))

    async def _do(self, method: str, **params: Any) -> Any:
        number = next(self._numbers)
        await self._socket.send_str(json.dumps({"id": number, "method": method, "params": params}))
        async with asyncio.timeout(_PATIENCE_S):
            async for message in self._socket:
                said = json.loads(message.data)
                if said.get("id") == number:
                    assert "error" not in said, said
                    return said["result"]
                if said.get("method") in (
                    "Runtime.exceptionThrown",
                    "Log.entryAdded",
                    "Runtime.consoleAPICalled",
                ):
                    self.complaints.append(json.dumps(said["params"]))
        raise AssertionError(f"the browser hung up at {method}")

    async def listen(self) -> None:
        for domain in ("Page", "Runtime", "Log"):
            await self._do(f"{domain}.enable")


@asynccontextmanager
async def browser_tab(profile: Path) -> AsyncIterator[Tab]:
    process = await asyncio.create_subprocess_exec(
        "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
        "--disable-background-networking", "--remote-debugging-port=0", f"--user-data-dir={profile}",
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        address = profile / "DevToolsActivePort"
        async with asyncio.timeout(_PATIENCE_S):
            while not (address.exists() and address.read_text().count("\n")):
                await asyncio.sleep(0.05)
        port = address.read_text().split("\n")[0]
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://127.0.0.1:{port}/json/list") as reply:
                (target, *_) = [t for t in await reply.json() if t["type"] == "page"]
            async with session.ws_connect(target["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                tab = Tab(socket)
                await tab.listen()
                yield tab
    finally:
        process.kill()
        await process.wait()


@pytest.fixture
def with_tab(tmp_path: Path) -> Any:
    """`async with with_tab() as tab`; skips where there is no browser."""
    if shutil.which("chromium") is None:
        pytest.skip("needs chromium")
    return lambda: browser_tab(tmp_path / "profile")


@pytest.fixture
def summary() -> dict[str, Any]:
    """`summary.json` of a run of one stage."""
    row = {
        "name": "rl1",
        "steps": 2,
        "pass_at_1": 0.75,
        "pass_at_1_ci95": [0.5, 1.0],
        "tool_error_rate": 0.125,
        "tool_error_rate_correct": 0.0,
        "calls_per_rollout": 1.5,
        "tokens_per_rollout": 99.6,
        "clip_ratio": 0.02,
        "wall_s": 12.0,
        "pass_at_1_by_task": {"gcd": 0.75},
    }
    return {"seed": 3, "wall_s": 90.0, "stages": [row]}
