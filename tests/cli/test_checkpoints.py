"""What the verbs of a checkpoint make of the config that it was trained with."""

import asyncio
import sys
from pathlib import Path
from types import ModuleType

import pytest
from typer.testing import CliRunner

from rstar2.assemble.players import policies
from rstar2.cli import app
from rstar2.config import RunConfig
from rstar2.engines.scripted import ScriptedEngine
from rstar2.rollout.dispatcher import Dispatcher
from rstar2.rollout.placement.lengths import Lengths
from rstar2.serving.writing import Task, request_for


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunConfig:
    """What `rstar2 serve` serves by, of a checkpoint whose run had the default policy."""
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (tmp_path / name).write_text("{}")
    seen: list[RunConfig] = []
    verb = ModuleType("serve")
    verb.Listening = dict
    verb.serve = lambda config, listening: seen.append(config)
    monkeypatch.setitem(sys.modules, "rstar2.verbs.serve", verb)
    result = CliRunner().invoke(app, ["serve", "--model", str(tmp_path)])
    assert result.exit_code == 0, result.output
    return seen[0]


def test_what_one_client_asks_for_does_not_shrink_the_room_of_others(served: RunConfig) -> None:
    """200 answers of 16 tokens beside one of up to 30,720 that came first: all have room at once."""
    lengths = Lengths()

    async def scenario() -> tuple[int, int]:
        engine = ScriptedEngine(lambda request: [1] * request.max_new_tokens, kv_tokens=200_000)
        dispatcher = Dispatcher([engine], new_policy=policies(served, lengths))

        async def ask(number: int, max_tokens: int) -> None:
            task = Task(
                id=f"t{number}", group_id=f"g{number}", prompt=(1,) * 100, max_tokens=max_tokens,
                temperature=1.0, top_p=1.0, seed=0, stops=(), is_streamed=False,
            )  # fmt: skip
            await dispatcher.generate(request_for(task, (), max_tokens))
            dispatcher.release(task.id, is_complete=True)

        long = asyncio.create_task(ask(0, 30_720))
        while not engine.load().num_running:
            await asyncio.sleep(0)
        short = [asyncio.create_task(ask(number, 16)) for number in range(1, 201)]
        most_running, steps_before = 0, engine.load().num_steps
        while not all(task.done() for task in short):
            await asyncio.sleep(0)
            most_running = max(most_running, engine.load().num_running)
        num_steps = engine.load().num_steps - steps_before
        long.cancel()
        await dispatcher.close()
        return most_running, num_steps

    most_running, num_steps = asyncio.run(scenario())
    assert most_running == 201
    assert num_steps <= 32
    assert lengths.to_json() == {"groups": {}, "evidence": {}}  # nothing is kept of a request that is over
