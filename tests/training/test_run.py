"""A whole run with fakes at every port, killed at each thing it does: it ends as if nothing had happened."""

import asyncio
import json
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from rstar2 import checkpoint
from rstar2.config import RunConfig, parse_config
from rstar2.engines.scripted import ScriptedEngine
from rstar2.errors import InputError
from rstar2.ports import Objective, OptimizerKind, WeightChannel
from rstar2.protocol.template import Template, chatml_template
from rstar2.protocol.tokenizer import train_tokenizer
from rstar2.rollout.collector import Collector
from rstar2.rollout.dispatcher import Dispatcher
from rstar2.rollout.pacing import FreePacer
from rstar2.rollout.placement.learned import LearnedReservation
from rstar2.rollout.placement.lengths import Lengths
from rstar2.rollout.simulation.traces import read_traces
from rstar2.tools import Registry
from rstar2.tools.python_code import ProgramLimits, python_tool
from rstar2.training.parts import Parts, SilentWatcher
from rstar2.training.progress import CHANGES_FILE
from rstar2.training.run import TrainingRun
from rstar2.types import (
    Generation,
    GenerationRequest,
    Problem,
    Program,
    Rollout,
    StepReport,
    ToolResult,
    TrainSample,
)
from rstar2.weights import MemoryChannel

PROBLEMS = tuple(
    Problem(id=f"p{i}", question=f"What is the GCD of {6 * i}, {9 * i}?", answer=str(3 * i), task="gcd")
    for i in range(1, 6)
)
STAGE = {
    "problems_per_step": 2, "oversample": 4, "group_size": 2, "max_response_tokens": 200, "max_turns": 2,
    "lr": 1e-3, "warmup_steps": 1,
}  # fmt: skip
LEAVES_EARLY = {"window_steps": 2, "plateau_steps": 1}


def config(*, checkpoint_every_s: float, max_lag: int) -> RunConfig:
    return parse_config(
        {
            "rollout": {"max_lag": max_lag},
            "learner": {"importance_cap": 2.0},
            "run": {"checkpoint_every_s": checkpoint_every_s, "save_rollouts": 4},
            "pretraining": {"steps": 2, "documents_per_step": 2},
            "sft": {"steps": 2, "samples_per_step": 2},
            "evaluation": {"max_response_tokens": 200, "max_turns": 2},
            "stages": [
                {**STAGE, "name": "rl1", "steps": 9, "exit": LEAVES_EARLY},
                {**STAGE, "name": "more", "steps": 1},
                {**STAGE, "name": "rl2", "steps": 2, "problems": "unmastered", "mastery_rollouts": 4},
            ],
        }
    )


class Killed(BaseException):
    """Stands for SIGKILL: nothing may handle it."""


class Life:
    """Ends at the given event, or with the given rollout, and stays ended."""

    def __init__(self, num_events: int = 10**6, *, last_rollout: str = "") -> None:
        self.num_left = num_events
        self.rollouts: list[str] = []
        """Ids of those that were played."""
        self._last_rollout = last_rollout

    def go_on(self) -> None:
        self.num_left -= 1
        if self.num_left < 0:
            raise Killed

    def play(self, rollout_id: str) -> None:
        if rollout_id == self._last_rollout:
            self.num_left = 0
            self.go_on()
        self.rollouts.append(rollout_id)


class OneMemory:
    """Of learner and engines, who take turns with it; each has its own if engines play ahead."""

    def __init__(self, *, is_shared: bool) -> None:
        self._is_shared = is_shared
        self.is_learners = False

    def check(self, *, is_learners: bool) -> None:
        assert not self._is_shared or self.is_learners == is_learners

    async def rest(self) -> None:
        self.is_learners = True


class SleepingEngine(ScriptedEngine):
    """Takes its memory again to adopt weights."""

    def __init__(self, template: Template, life: Life, memory: OneMemory) -> None:
        super().__init__(partial(answer_by_seed, template))
        self._life = life
        self._memory = memory

    async def generate(self, request: GenerationRequest) -> Generation:
        self._memory.check(is_learners=False)
        self._life.play(request.rollout_id)
        return await super().generate(request)

    async def adopt(self, channel: WeightChannel, version: int) -> None:
        self._memory.is_learners = False
        await super().adopt(channel, version)


class RememberingLearner:
    """Its weights are the list of everything it was told; saved and restored as JSON."""

    def __init__(self, life: Life, memory: OneMemory) -> None:
        self.told: list[Any] = []
        self._life = life
        self._memory = memory

    def step(
        self, samples: Sequence[TrainSample], *, objective: Objective, lr: float, temperature: float = 1.0
    ) -> StepReport:
        self._life.go_on()
        self._memory.check(is_learners=True)
        self.told.append([objective.value, lr, [[s.token_ids, s.advantage] for s in samples]])
        return StepReport(metrics=(("loss", float(len(self.told))),))

    def publish(self, channel: WeightChannel, version: int) -> None:
        channel.put(version, {})

    def reset_optimizer(self, kind: OptimizerKind = OptimizerKind.ADAMW) -> None:
        self.told.append(["reset", kind.value])

    def save(self, folder: Path) -> None:
        (folder / "told.json").write_text(json.dumps(self.told))

    def restore(self, folder: Path) -> None:
        self.told = json.loads((folder / "told.json").read_text())


class IdleSandbox:
    async def run(self, program: Program) -> ToolResult:
        raise AssertionError("the script calls no tool")

    async def close(self) -> None: ...


class SeededGrader:
    def __init__(self, life: Life) -> None:
        self._life = life

    async def grade(self, problem: Problem, rollout: Rollout) -> float:
        self._life.go_on()
        return float(rollout.answer == problem.answer)


def answer_by_seed(template: Template, request: GenerationRequest) -> list[int]:
    """Right or wrong, as the rollout's seed decides."""
    number = int(request.group_id.removeprefix("p")) * 3 if request.seed % 2 else 0
    tokenizer = template.tokenizer
    return [*tokenizer.encode(f"</reason><answer>\\boxed{{{number}}}</answer>"), tokenizer.eos_token_id]


def run(
    template: Template, folder: Path, life: Life, *, checkpoint_every_s: float = 0.0, max_lag: int = 0
) -> RememberingLearner:
    """One process life in the run's folder; raises Killed when `life` ends."""
    folder.mkdir(exist_ok=True)
    memory = OneMemory(is_shared=not max_lag)
    learner, channel = RememberingLearner(life, memory), MemoryChannel()
    lengths = Lengths()
    dispatcher = Dispatcher(
        [SleepingEngine(template, life, memory) for _ in range(2)],
        new_policy=partial(LearnedReservation, lengths=lengths),
    )
    limits = ProgramLimits(time_limit_s=1.0, memory_limit_mb=64, output_limit_chars=100)
    tools = Registry([python_tool(IdleSandbox(), limits)])
    collector = Collector(
        template=template,
        dispatcher=dispatcher,
        tools=tools,
        grader=SeededGrader(life),
        pacer=FreePacer(),
        run_seed=0,
    )
    parts = Parts(
        config=config(checkpoint_every_s=checkpoint_every_s, max_lag=max_lag),
        folder=folder,
        template=template,
        tools=tools,
        learner=learner,
        channel=channel,
        dispatcher=dispatcher,
        lengths=lengths,
        collector=collector,
        train=PROBLEMS[:4],
        test=PROBLEMS[4:],
        corpus=PROBLEMS,
        base_cache=folder.parent / f"{folder.name}-base",
        export=lambda to: to.mkdir(parents=True, exist_ok=True),
        engine_stats=dict,
        watcher=SilentWatcher(),
        rest=memory.rest,
    )
    asyncio.run(TrainingRun(parts, min_probe_rollouts=8).go())
    return learner


def untimed(folder: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]], str]:
    """Metrics, summary rows and rollouts, without times."""

    def without_times(record: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in record.items() if not name.endswith("_s")}

    metrics = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    rows = json.loads((folder / "summary.json").read_text())["stages"]
    rollouts = (folder / "rollouts.jsonl").read_text()
    return [without_times(m) for m in metrics], [without_times(row) for row in rows], rollouts


@pytest.fixture(scope="session")
def whole(
    template: Template, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, RememberingLearner, int]:
    """A run that nobody disturbs: its folder, its learner and how many events it had."""
    folder, life = tmp_path_factory.mktemp("whole") / "run", Life(10**6)
    return folder, run(template, folder, life), 10**6 - life.num_left


Whole = tuple[Path, RememberingLearner, int]


def test_a_run_goes_through_its_phases_in_order(whole: Whole) -> None:
    folder, learner, _ = whole
    metrics, rows, _ = untimed(folder)
    assert [row["name"] for row in rows] == ["base", "sft", "rl1", "more", "rl2"]
    steps = {row["name"]: row["steps"] for row in rows}
    assert [m["phase"] for m in metrics] == [name for name, num in steps.items() for _ in range(num)]
    assert (steps["base"], steps["sft"], steps["rl2"]) == (2, 2, 2)
    assert 3 <= steps["rl1"] < 9, "the exit rule was to end this stage early"
    resets = [told[1] for told in learner.told if told[0] == "reset"]
    assert resets == ["muon", "adamw", "adamw"], "for the base, for SFT and for the first stage"
    assert {told[0] for told in learner.told} == {"reset", "likelihood", "policy"}
    models = sorted(path.name for path in (folder / "models").iterdir())
    assert models == ["base", "more", "rl1", "rl2", "sft"]


def test_the_last_step_is_kept_as_a_scheduler_met_it(whole: Whole) -> None:
    traces = read_traces(whole[0])
    assert len(traces) == STAGE["problems_per_step"] * STAGE["oversample"]
    assert {trace.max_response_tokens for trace in traces} == {200}


@pytest.mark.integration
@pytest.mark.parametrize("checkpoint_every_s", [0.0, 1e9], ids=["saved at every step", "at boundaries only"])
def test_a_run_killed_at_any_event_ends_as_if_it_never_was(
    template: Template, whole: Whole, tmp_path: Path, checkpoint_every_s: float
) -> None:
    folder, learner, num_events = whole
    go = partial(run, template, checkpoint_every_s=checkpoint_every_s)
    for at_event in range(0, num_events, 3):
        killed = tmp_path / str(at_event)
        with pytest.raises(Killed):
            go(killed, Life(at_event))
        resumed = go(killed, Life(10**6))
        assert untimed(killed) == untimed(folder), f"killed at event {at_event}"
        assert json.dumps(resumed.told) == json.dumps(learner.told), f"killed at event {at_event}"


def test_a_run_killed_again_and_again_gets_there(template: Template, whole: Whole, tmp_path: Path) -> None:
    num_lives, is_done = 0, False
    while not is_done:
        num_lives += 1
        assert num_lives < 20, "it makes no headway"
        with suppress(Killed):
            run(template, tmp_path / "run", Life(20))
            is_done = True
    assert num_lives > 3
    assert untimed(tmp_path / "run") == untimed(whole[0])


@pytest.mark.parametrize(("checkpoint_every_s", "played_again"), [(0.0, "p3 p4"), (1e9, "p1 p2 p3 p4")])
def test_a_run_killed_while_it_tries_problems_for_mastery_goes_on_with_the_batch_under_way(
    template: Template, whole: Whole, tmp_path: Path, checkpoint_every_s: float, played_again: str
) -> None:
    def tried(life: Life) -> str:
        named = (rollout.split("/") for rollout in life.rollouts)
        return " ".join(sorted({problem for stage, occasion, problem, _ in named if occasion == "mastery"}))

    folder, learner, _ = whole
    go = partial(run, template, tmp_path / "run", checkpoint_every_s=checkpoint_every_s)
    killed, resumed = Life(last_rollout="rl2/mastery/p4/1"), Life()
    with pytest.raises(Killed):
        go(killed)
    told = go(resumed).told
    assert tried(killed) == "p1 p2 p3 p4"
    assert tried(resumed) == played_again
    assert untimed(tmp_path / "run") == untimed(folder)
    assert json.dumps(told) == json.dumps(learner.told)


@pytest.mark.parametrize(("phase", "name"), [(1, "sft"), (2, "rl1"), (4, "rl2")])
def test_a_run_killed_in_an_evaluation_repeats_the_evaluation_and_no_step(
    template: Template, whole: Whole, tmp_path: Path, phase: int, name: str
) -> None:
    folder, learner, _ = whole
    go = partial(run, template, tmp_path / "run", checkpoint_every_s=1e9)
    with pytest.raises(Killed):
        go(Life(last_rollout=f"evaluation/{name}/p5/0"))
    saved = checkpoint.latest(tmp_path / "run" / "checkpoints")
    assert saved is not None
    num_steps = untimed(folder)[1][phase]["steps"]
    assert (saved.state["phase"], saved.state["step"]) == (phase, num_steps)
    resumed = Life()
    told = go(resumed).told
    assert resumed.rollouts[0] == f"evaluation/{name}/p5/0"
    assert untimed(tmp_path / "run") == untimed(folder)
    assert json.dumps(told) == json.dumps(learner.told)


@pytest.mark.parametrize("checkpoint_every_s", [0.0, 1e9])
def test_no_checkpoint_is_written_over(
    template: Template, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, checkpoint_every_s: float
) -> None:
    numbers: list[int] = []
    write = checkpoint.write

    def noting(folder: Path, *, step: int, **rest: Any) -> Path:
        if folder.name == "checkpoints":
            numbers.append(step)
        return write(folder, step=step, **rest)

    monkeypatch.setattr(checkpoint, "write", noting)
    run(template, tmp_path / "run", Life(), checkpoint_every_s=checkpoint_every_s)
    assert numbers == sorted(set(numbers))


def test_a_finished_run_started_again_does_nothing(template: Template, whole: Whole) -> None:
    folder, learner, _ = whole
    before = untimed(folder)
    assert json.dumps(run(template, folder, Life(0)).told) == json.dumps(learner.told)
    assert untimed(folder) == before


def test_a_run_does_not_go_on_under_a_tokenizer_whose_ids_mean_other_tokens(tmp_path: Path) -> None:
    def with_tokens_of(text: str) -> Template:
        tokenizer = train_tokenizer([text], vocab_size=300, chat_template=chatml_template())
        return Template(tokenizer, system="", user="{question}")

    texts = ("What is 2 times 3?", "What is 2 times 3?", "What is 2 plus 345?")
    first, same, other = map(with_tokens_of, texts)
    assert len(first.tokenizer.hf) == len(other.tokenizer.hf)
    with pytest.raises(Killed):
        run(first, tmp_path / "run", Life(1))
    with pytest.raises(InputError, match=r"run' was trained with another tokenizer: go on with the version"):
        run(other, tmp_path / "run", Life())
    run(same, tmp_path / "run", Life())


def test_a_second_run_takes_the_base_from_the_cache(template: Template, whole: Whole, tmp_path: Path) -> None:
    folder, learner, _ = whole
    base = tmp_path / "run-base"
    base.symlink_to(folder.parent / "run-base")
    second = run(template, tmp_path / "run", Life(10**6))
    assert json.dumps(second.told) == json.dumps(learner.told)
    metrics, rows, _ = untimed(tmp_path / "run")
    assert metrics[0]["phase"] == "sft"
    assert rows[0]["steps"] == 0


def test_a_run_that_began_its_own_base_goes_on_with_it_when_another_run_was_faster(
    template: Template, whole: Whole, tmp_path: Path
) -> None:
    with pytest.raises(Killed):
        run(template, tmp_path / "run", Life(1))
    (tmp_path / "run-base").symlink_to(whole[0].parent / "run-base")
    run(template, tmp_path / "run", Life(10**6))
    assert untimed(tmp_path / "run") == untimed(whole[0])


def test_a_base_whose_config_changed_while_it_was_made_is_kept_from_other_runs(
    template: Template, tmp_path: Path
) -> None:
    with pytest.raises(Killed):
        run(template, tmp_path / "run", Life(1))
    (tmp_path / "run" / CHANGES_FILE).touch()
    run(template, tmp_path / "run", Life())
    assert checkpoint.latest(tmp_path / "run-base") is None


def without_lags(folder: Path) -> Any:
    """What `untimed` tells, but for who played which batch."""
    metrics, rows, rollouts = untimed(folder)
    return [{k: v for k, v in m.items() if k != "lag_versions"} for m in metrics], rows, rollouts


def lags_of(folder: Path) -> list[float]:
    return [m["lag_versions"] for m in untimed(folder)[0] if "lag_versions" in m]


@pytest.fixture(scope="session")
def overlapping(template: Template, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """The same run with engines one batch ahead of the learner."""
    folder, life = tmp_path_factory.mktemp("overlapping") / "run", Life(10**6)
    return folder, run(template, folder, life, max_lag=1), 10**6 - life.num_left


def test_engines_that_run_ahead_play_the_same_problems_for_the_same_steps(
    whole: Whole, overlapping: Whole
) -> None:
    """The script does not look at weights: who learns from the same batches ends with the same memory."""
    assert json.dumps(overlapping[1].told) == json.dumps(whole[1].told)
    assert without_lags(overlapping[0]) == without_lags(whole[0])
    assert set(lags_of(whole[0])) == {0}
    lags = lags_of(overlapping[0])
    assert lags == [0, *[1] * (len(lags) - 4), 0, 0, 1], "a stage begins with its own weights"


@pytest.mark.integration
def test_a_run_killed_with_batches_under_way_plays_them_again_and_learns_from_each_once(
    template: Template, overlapping: Whole, tmp_path: Path
) -> None:
    folder, learner, num_events = overlapping
    for at_event in range(1, num_events, 5):
        killed = tmp_path / str(at_event)
        with pytest.raises(Killed):
            run(template, killed, Life(at_event), max_lag=1)
        resumed = run(template, killed, Life(10**6), max_lag=1)
        assert json.dumps(resumed.told) == json.dumps(learner.told), f"killed at event {at_event}"
        assert without_lags(killed) == without_lags(folder), f"killed at event {at_event}"
        assert max(lags_of(killed)) <= 1
