"""The page's scripts in a real browser, over runs that are written by hand."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from rstar2.evaluation.report import write_report

pytestmark = pytest.mark.integration

FIRST_STEP = {"phase": "rl1", "step": 1, "reward": 0.5, "generate_s": 1.0, "learn_s": 1.0}


FOCUSED = "(document.activeElement.title || document.activeElement.tagName)"


def rollout(problem: str, index: int, *, step: int = 1, occasion: int = 0) -> dict[str, Any]:
    """Every second one is right, the first two are kept."""
    return {
        "phase": "rl1", "step": step, "occasion": occasion, "kept": index < 2, "error_penalty": 0.0,
        "format_penalty": 0.0, "problem": problem, "task": "gcd", "question": problem, "expected": "1",
        "answer": "1", "index": index, "reward": float(index % 2), "ending": "finished", "tokens": 5,
        "statuses": [], "calls": [None], "segments": [{"source": "model", "text": f"group {occasion}"}],
    }  # fmt: skip


def write_run(folder: Path, metrics: list[dict[str, Any]], rollouts: list[dict[str, Any]]) -> Path:
    folder.mkdir()
    (folder / "config.toml").write_text('[roc]\nmode = "topk"\n')
    for name, records in (("metrics.jsonl", metrics), ("rollouts.jsonl", rollouts)):
        (folder / name).write_text("".join(json.dumps(record) + "\n" for record in records))
    return folder


def look_at(url: str, with_tab: Any, look: Callable[[Any], Awaitable[None]]) -> None:
    """Open the page and look; it must complain of nothing."""

    async def go() -> None:
        async with with_tab() as tab:
            await tab.open(url)
            await look(tab)
            assert tab.complaints == []

    asyncio.run(go())


def test_two_groups_of_one_problem_stand_apart_and_each_square_leads_to_its_own_rollout(tmp_path, with_tab):
    draws = [("a", 0), ("c", 0), ("b", 0), ("a", 1)]
    rollouts = [rollout(problem, i, occasion=occasion) for problem, occasion in draws for i in range(4)]
    page = write_report(write_run(tmp_path / "run", [FIRST_STEP], rollouts))

    async def look(tab: Any) -> None:
        strips = await tab.js("[...document.querySelectorAll('.strip > span')].map((e) => e.textContent)")
        assert strips == ["sampled 4", "kept 2"] * 4
        await tab.js("document.querySelectorAll('.group')[3].querySelector('.square').click()")
        await tab.until("current === 'rl1/1/a/0~1'")
        assert "group 1" in await tab.js("at('conversation').innerText")
        await tab.js("step(-Infinity)")
        visited = [await tab.js("step(1), current") for _ in range(15)]
        assert len(set(visited)) == 15, "arrow down comes past every rollout once"

    look_at(page.as_uri(), with_tab, look)


def test_the_keyboard_stays_where_it_was_when_what_it_changed_is_drawn_anew(tmp_path, with_tab):
    steps = (1, 2, 3, 4)
    metrics = [FIRST_STEP | {"step": step} for step in steps]
    rollouts = [rollout("a", i, step=step) for step in steps for i in range(4)]
    page = write_report(write_run(tmp_path / "run", metrics, rollouts))

    async def look(tab: Any) -> None:
        async def enter() -> Any:
            await tab.press("Enter")
            return await tab.js(f"[document.querySelector('#groups-step select').value, {FOCUSED}]")

        await tab.js("document.querySelector('#groups-step button').focus()")
        assert await enter() == ["rl1, step 3", "earlier step"]
        assert await enter() == ["rl1, step 2", "earlier step"]
        assert await enter() == ["rl1, step 1", "SELECT"], "at the first step there is no earlier one"

    look_at(page.as_uri(), with_tab, look)


def test_a_neighbour_that_is_drawn_anew_takes_no_focus_away(tmp_path, with_tab):
    page = write_report(write_run(tmp_path / "run", [FIRST_STEP], [rollout("a", i) for i in range(4)]))

    async def look(tab: Any) -> None:
        await tab.js("at('search').focus()")
        await tab.js("wanted.outcome = outcomes.right, drawRollouts()")
        assert await tab.js("document.activeElement.id") == "search"
        labels = await tab.js("[...at('filters').children].map((label) => label.firstChild.data ?? 'colour')")
        assert labels == ["phase", "step", "task", "outcome", "RoC", "length", "order", "text", "colour"]

    look_at(page.as_uri(), with_tab, look)


def test_the_box_says_whether_tokens_are_coloured_also_after_a_link(tmp_path, with_tab):
    page = write_report(write_run(tmp_path / "run", [FIRST_STEP], [rollout("a", i) for i in range(4)]))

    async def look(tab: Any) -> None:
        await tab.press("e")
        await tab.js("wanted.outcome = outcomes.right, drawRollouts()")
        await tab.js("location.hash = '#/rl1/1/a/0'")
        await tab.until("current === 'rl1/1/a/0'")
        assert await tab.js("[isColoured, at('entropy').checked]") == [True, True]
        await tab.press("e")
        assert await tab.js("[isColoured, at('entropy').checked]") == [False, False]

    look_at(page.as_uri(), with_tab, look)


def test_an_address_that_names_nothing_is_passed_over(tmp_path, with_tab):
    page = write_report(write_run(tmp_path / "run", [FIRST_STEP], [rollout("a", i) for i in range(4)]))

    async def look(tab: Any) -> None:
        assert await tab.js("found.length") == 4
        await tab.js("location.hash = '#/50%'")
        await tab.until("location.hash === '#/50%'")
        await tab.js("location.hash = '#/rl1/1/a/2'")
        await tab.until("current === 'rl1/1/a/2'")

    look_at(page.as_uri() + "#100%", with_tab, look)


def test_a_band_is_a_stage_of_all_runs_that_are_compared(tmp_path, with_tab):
    def run(name: str, *lengths: int) -> Path:
        phases = [f"rl{n}" for n, length in enumerate(lengths, start=1) for _ in range(length)]
        metrics = [FIRST_STEP | {"phase": phase, "step": n} for n, phase in enumerate(phases)]
        return write_run(tmp_path / name, metrics, [])

    one, under_way, other = run("one", 2, 3), run("under-way", 2, 1), run("other", 3, 2)
    spans = "sharedCharts(runs)[0].spans.map((span) => [span.name, span.first, span.last])"

    async def look(tab: Any) -> None:
        assert await tab.js(spans) == [["rl1", 1, 2], ["rl2", 3, 3]]
        await tab.open(write_report(other, compare=[one, under_way]).as_uri())
        assert await tab.js(spans) == [["rl1", 1, 2]]

    look_at(write_report(one, compare=[under_way]).as_uri(), with_tab, look)


def test_sixteen_runs_can_be_told_apart_in_daylight_and_in_the_dark(tmp_path, with_tab):
    metrics = [FIRST_STEP | {"step": step, "kept_reward": 0.5} for step in (1, 2)]
    first, *others = [write_run(tmp_path / f"run-{n}", metrics, []) for n in range(16)]
    url = write_report(first, compare=others).as_uri()
    looks = """
    [...document.querySelector("#curves figure [role=img]").querySelectorAll("polyline")].map((line) => {
      const look = getComputedStyle(line);
      return look.color + look.strokeDasharray;
    })
    """

    async def look(tab: Any) -> None:
        for dark in (False, True):
            await tab.open(url, dark=dark)
            drawn = await tab.js(looks)
            assert (len(drawn), len(set(drawn))) == (32, 32), "reward of all and of the kept, of each run"

    look_at(url, with_tab, look)
