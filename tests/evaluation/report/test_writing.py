import asyncio
import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from rstar2.errors import DataError
from rstar2.evaluation.report import write_report, writing
from rstar2.evaluation.report.writing import SCRIPTS, render

HOSTILE = '</script><script>document.title="owned"</script><img src=x onerror="document.title=1">\u2028<!--'


def step(phase: str, number: int, **values: float) -> dict[str, object]:
    return {"phase": phase, "step": number, "reward": 0.5, "tool_error_rate": 0.25, **values}


def rollout(phase: str, text: str, *, reward: float = 1.0) -> dict[str, object]:
    return {
        "phase": phase,
        "step": 1,
        "kept": True,
        "error_penalty": 0.0,
        "format_penalty": 0.0,
        "problem": "gcd-1",
        "task": "gcd",
        "question": text,
        "expected": "6",
        "answer": "6",
        "index": 0,
        "reward": reward,
        "ending": "finished",
        "tokens": 20,
        "statuses": ["ok"],
        "calls": ["print(6)", None],
        "segments": [
            {"source": "prompt", "text": "<|im_start|>"},
            {"source": "model", "text": f"{text}<tool_call>{{}}</tool_call>"},
            {"source": "environment", "text": f"<tool_response>{text}</tool_response>"},
            {"source": "model", "text": "<answer>\\boxed{6}</answer>"},
        ],
    }


def write_lines(path: Path, records: list[dict[str, object]]) -> None:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


@pytest.fixture
def run(tmp_path: Path, summary: dict[str, Any]) -> Path:
    folder = tmp_path / "<b>run"
    folder.mkdir()
    write_lines(folder / "metrics.jsonl", [step("rl1", 1), step("rl1", 2, learner_loss=math.nan)])
    write_lines(folder / "rollouts.jsonl", [rollout("evaluation/rl1", HOSTILE)])
    (folder / "summary.json").write_text(json.dumps(summary))
    (folder / "config.toml").write_text("[run]\nseed = 3\n")
    return folder


class Elements(HTMLParser):
    """Start tags of a page with their attributes, and the text of its data element."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.data = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1] == ("script", {"type": "application/json", "id": "data"}):
            self.data += data


def data_of(page: Path) -> Any:
    return json.loads(Elements(page.read_text()).data)


def test_the_page_needs_nothing_but_itself(run):
    page = write_report(run).read_text()
    elements = Elements(page)
    links = [attributes.get("src") or attributes.get("href") for _, attributes in elements.tags]
    assert all(link is None or link.startswith("#") for link in links)
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)|@import|url\(", page.replace(elements.data, ""))
    assert "default-src 'none'; connect-src 'none'" in page


def test_text_of_a_model_cannot_become_markup(run):
    elements = Elements(write_report(run).read_text())
    assert [tag for tag, _ in elements.tags].count("script") == 2
    assert "img" not in [tag for tag, _ in elements.tags]
    (conversation,) = json.loads(elements.data)["runs"][0]["rollouts/evaluation/rl1/1"]
    assert conversation["question"] == HOSTILE
    assert conversation["parts"][0] == {"kind": "text", "turn": 0, "text": HOSTILE, "status": ""}
    assert conversation["parts"][2] == {"kind": "result", "turn": 0, "text": HOSTILE, "status": "ok"}


def test_the_name_of_the_run_is_escaped(run):
    assert "<title>&lt;b&gt;run - rstar2</title>" in write_report(run).read_text()


def test_a_folder_without_a_run_is_refused_and_left_alone(tmp_path):
    with pytest.raises(DataError, match="holds no run"):
        write_report(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_loss_that_is_no_number_leaves_a_gap_and_a_valid_page(run):
    (found,) = data_of(write_report(run))["runs"]
    assert [chart["title"] for chart in found["charts"]] == ["Reward", "Tool errors"]


def test_runs_that_are_compared_stand_on_one_page_with_the_settings_that_differ(run, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    for file in run.iterdir():
        (other / file.name).write_text(file.read_text().replace("seed = 3", "seed = 4"))
    data = data_of(write_report(run, compare=[other]))
    assert [found["about"]["name"] for found in data["runs"]] == ["<b>run", "other"]
    assert data["head"]["differences"] == [{"key": "run.seed", "values": ["3", "4"]}]


@pytest.mark.parametrize("character", ["x", "<"])
def test_a_long_run_still_fits_on_a_small_page(run, character):
    text = character * 8_000
    records = [rollout(f"evaluation/{n}", text) for n in range(60)]
    write_lines(run / "rollouts.jsonl", records + [rollout("rl1", text) | {"step": n} for n in range(400)])
    page = write_report(run)
    assert page.stat().st_size < 5_000_000
    num_shown = len([name for name in data_of(page)["runs"][0] if name.startswith("rollouts/")])
    assert num_shown > (100 if character == "x" else 20)


def test_the_script_never_makes_markup_from_text():
    page = render([{}], title="t")
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", page)


def test_every_script_is_on_the_page():
    folder = Path(writing.__file__).parent / "page"
    assert sorted(SCRIPTS) == sorted(path.name for path in folder.glob("*.js"))


@pytest.mark.integration
def test_a_browser_draws_the_page_and_runs_nothing_of_a_model(run, with_tab):
    page = write_report(run)

    async def look() -> None:
        async with with_tab() as tab:
            await tab.open(page.as_uri())
            assert await tab.js("document.title") == "<b>run - rstar2"
            assert await tab.js("document.querySelectorAll('#curves polyline').length") == 2
            assert await tab.js("document.images.length") == 0
            assert "75.0%" in await tab.js("document.getElementById('phases').innerText")
            assert HOSTILE in await tab.js("document.getElementById('conversation').innerText")
            assert tab.complaints == []

    asyncio.run(look())
