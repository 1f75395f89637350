"""The page of a real run in a real browser: live while it is trained, and beside another run when it is done.

It is the shrunken recipe's (`tests/shrunken/recipe.toml`).
"""

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
TRAIN = (
    "train",
    "tests/shrunken/recipe.toml",
    *("-s", "stages.0.steps=3"),
    *("-s", "stages.0.group_size=2"),
    *("-s", "evaluation.rollouts=2"),
)
TOKENS_OF_PHASE = """
conversationsOf(runs[0]).filter((c) => c.phase === 'evaluation/rl1').map((c) => c.num_tokens)
"""


async def start(home: Path, *words: str | Path) -> Process:
    """The program, with a home of its own, where the base is cached."""
    return await asyncio.create_subprocess_exec(
        sys.executable, "-c", "from rstar2.cli import main; main()", *words,
        cwd=ROOT, env={**os.environ, "HOME": str(home)}, stdout=PIPE, stderr=PIPE, stdin=DEVNULL,
    )  # fmt: skip


async def finish(home: Path, *words: str | Path) -> None:
    child = await start(home, *words)
    _, stderr = await child.communicate()
    assert child.returncode == 0, stderr.decode()


async def watch_a_run_begin_and_end(home: Path, tab: Any) -> None:
    """`rstar2 view` from before the run exists until Ctrl-C; the page is never loaded again."""
    viewer = await start(home, "view", home / "one", "--port", "0")
    try:
        assert viewer.stdout is not None
        said = (await viewer.stdout.readline()).decode()
        assert "does not exist yet" in said
        await tab.open(said.split()[1])
        assert "Nothing is written in one yet" in await tab.js("document.body.innerText")
        await finish(home, *TRAIN, "--run", home / "one")
        await tab.until("document.querySelectorAll('#phases tbody tr').length === 3")
        await tab.until("document.querySelectorAll('#anatomy-steps .step').length === 3")
        assert await tab.js("document.querySelectorAll('#anatomy-course path').length") == 4
        assert await tab.js("at('live').textContent") == "live"
    finally:
        viewer.send_signal(signal.SIGINT)
        await viewer.wait()
    assert viewer.returncode == 0
    await tab.until("at('live').textContent.includes('does not answer')")


async def read_the_report(page: Path, tab: Any) -> None:
    """Filter, open a rollout by its link, colour it, look at groups, and do it by keyboard."""
    await tab.open(page.as_uri())
    assert "run.seed" in await tab.js("at('differences').innerText")
    assert await tab.js("document.querySelectorAll('#curves .tone-1').length") > 0
    of_phase = await tab.js("found.length")
    assert of_phase == 8, "four problems, two rollouts each"
    wrong = await tab.js("found.filter((c) => !c.is_right).length")
    await choose(tab, "outcome", "wrong")
    assert await tab.js("document.querySelectorAll('#list [role=option]').length") == wrong
    await choose(tab, "outcome", "all")
    await choose(tab, "length", "longest tenth")
    tokens = sorted(await tab.js(TOKENS_OF_PHASE))
    assert sorted(await tab.js("found.map((c) => c.num_tokens)")) == [n for n in tokens if n >= tokens[-2]]
    await choose(tab, "length", "all")
    await choose(tab, "phase", "rl1")
    assert await tab.js("found.length") == 3 * 8
    assert await tab.js("document.querySelectorAll('#groups-list .square.kept').length") == 2 * 2 * 2
    assert "p_err" in await tab.js("document.querySelector('#groups-list table').textContent")

    await tab.js("document.querySelector('#groups-list .square').click()")
    await tab.until("location.hash.startsWith('#/rl1/3/')")
    assert await tab.js("'#/' + current") == await tab.js("decodeURI(location.hash)")
    await tab.js("at('list').focus()")
    before = await tab.js("current")
    await tab.press("ArrowDown")
    assert await tab.js("current") != before

    await choose(tab, "phase", "evaluation/rl1")
    await tab.js("document.activeElement.blur()")
    await tab.press("e")
    assert await tab.js("document.querySelectorAll('#conversation .token').length") > 5
    assert await tab.js("document.querySelectorAll('#conversation .token.uncertain').length") > 0
    await tab.press("e")
    assert await tab.js("document.querySelectorAll('#conversation .token').length") == 0


async def choose(tab: Any, label: str, option: str) -> None:
    await tab.js(
        f"""{{
          const labels = [...document.querySelectorAll('#filters label')];
          const label = labels.find((l) => l.firstChild.data === {json.dumps(label)});
          const select = label.querySelector("select");
          select.value = {json.dumps(option)};
          select.dispatchEvent(new Event('change'));
        }}"""
    )


async def look_at_it_on_a_phone(page: Path, tab: Any) -> None:
    for dark in (False, True):
        await tab.open(page.as_uri(), width=390, dark=dark)
        assert await tab.js("document.documentElement.scrollWidth") <= 390, "nothing sticks out"
        light = await tab.js("getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0] > 128")
        assert light is not dark


@pytest.mark.e2e
@pytest.mark.timeout(400)
def test_a_run_can_be_watched_filtered_read_and_compared(tmp_path: Path, with_tab: Any) -> None:
    one, two = tmp_path / "one", tmp_path / "two"

    async def go() -> None:
        async with with_tab() as tab:
            await watch_a_run_begin_and_end(tmp_path, tab)
            await finish(tmp_path, *TRAIN, "--run", two, "-s", "run.seed=1")
            await finish(tmp_path, "analyze", one)
            await finish(tmp_path, "report", one, "--compare", two)
            page = one / "report.html"
            assert page.stat().st_size < 1_000_000
            await read_the_report(page, tab)
            await look_at_it_on_a_phone(page, tab)
            # The live page went on asking when its server had ended; the browser says that nobody listens.
            assert [said for said in tab.complaints if "ERR_CONNECTION_REFUSED" not in said] == []

    asyncio.run(go())
