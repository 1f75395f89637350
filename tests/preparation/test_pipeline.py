"""Whole preparations from small files in the publishers' schemas, killed and started again."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rstar2.config import PreparationConfig, load_config, load_section, parse_section
from rstar2.preparation import Job, Manifest, prepare
from rstar2.problems.load import Fields, load
from rstar2.protocol.template import Template, chatml_template
from rstar2.protocol.tokenizer import train_tokenizer
from rstar2.training.conversations import read_conversations
from rstar2.training.sft import conversation_sample
from rstar2.types import Problem

CONFIG = Path(__file__).parents[2] / "configs/data.toml"
Benchmarks = dict[str, list[Problem]]
BENCHMARKS: Benchmarks = {
    "aime24": [Problem(id="1", question="one two three four five six seven eight", answer="3")]
}


class Silent:
    """Remembers which bars were begun."""

    def __init__(self) -> None:
        self.labels: list[str] = []

    def begin(self, label: str, total: int) -> None:
        self.labels.append(label)

    def advance(self) -> None: ...


class Answering:
    """A served model: 4 is the answer to everything; what is written anew is in capitals."""

    def __init__(self, *, dies_after: int = 10**9) -> None:
        self.num_asked = 0
        self.dies_after = dies_after

    async def replies(self, messages, *, count):
        await asyncio.sleep(0)
        if self.num_asked == self.dies_after:
            raise KilledError
        self.num_asked += 1
        return ["ANEW \\boxed{4}"] * count


class Refusing:
    """A served model that refuses everything."""

    async def replies(self, messages, *, count):
        return None


class KilledError(BaseException):
    """Nothing may handle it."""


def files_config(write: Callable[..., str], published: dict[str, Any], *overrides: str) -> PreparationConfig:
    """configs/data.toml with a file in place of every hub id."""
    overrides = (
        tuple(
            f"{kind}.{name}.path={write(name, published[name])}"
            for kind, name in (
                *(("conversations", name) for name in list(published)[:7]),
                *(("problems", name) for name in list(published)[7:]),
            )
        )
        + overrides
    )
    return load_section(PreparationConfig, CONFIG, ["problems.project-euler.skip=false", *overrides])


def prepared(
    config: PreparationConfig, folder: Path, *, benchmarks: Benchmarks = BENCHMARKS, **models: Any
) -> tuple[Manifest, list[str]]:
    """(manifest, bars that were begun)."""
    progress = Silent()
    job = Job(config=config, folder=folder, benchmarks=benchmarks, progress=progress, **models)
    return asyncio.run(prepare(job)), progress.labels


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir() if path.is_file()}


def records(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_source_of_the_papers_config_ends_in_the_two_files(write, published, tmp_path):
    manifest, _ = prepared(files_config(write, published), tmp_path / "data")
    assert {record["source"] for record in records(tmp_path / "data/sft.jsonl")} == set(list(published)[:7])
    assert [(p["question"], p["answer"], p["task"]) for p in records(tmp_path / "data/problems.jsonl")] == [
        ("What is 3 times 4?", "12", "dapo"),
        ("How many sides has a square?", "4", "aops"),
        ("Sum the multiples of 3 or 5 below 1000.", "233168", "project-euler"),
    ]
    assert [count.num_kept for count in (*manifest.conversations, *manifest.problems)] == [1] * 10
    assert json.loads((tmp_path / "data/manifest.json").read_text())["benchmarks"] == [["aime24", 1]]
    assert records(tmp_path / "data/benchmarks/aime24.jsonl")[0]["id"] == "aime24/1"
    assert sorted(remark.split(":")[0] for remark in manifest.remarks) == ["aops", "nemotron", "tulu3"]


def test_what_is_prepared_is_what_sft_reads(write, published, tmp_path):
    prepared(files_config(write, published), tmp_path)
    conversations = read_conversations(tmp_path / "sft.jsonl")
    assert len(conversations) == 7
    assert all(conversation.tools is not None for conversation in conversations)


def test_what_is_prepared_is_rendered_with_its_own_tools_and_calls(write, published, tmp_path):
    prepared(files_config(write, published), tmp_path)
    tokenizer = train_tokenizer([], vocab_size=300, chat_template=chatml_template())
    template = Template(tokenizer, system="", user="{question}")
    texts = {}
    for record, conversation in zip(
        records(tmp_path / "sft.jsonl"), read_conversations(tmp_path / "sft.jsonl"), strict=True
    ):
        sample = conversation_sample(template, conversation)
        said = [token for token, is_said in zip(sample.token_ids, sample.loss_mask, strict=True) if is_said]
        texts[record["source"]] = (tokenizer.decode(sample.token_ids), tokenizer.decode(said))
    whole, said = texts["toolace"]
    assert '{"name": "add_numbers", "description": "Add."' in whole
    assert '</tool_call><tool_call>{"name": "add_numbers", "arguments": {"x": -1.5}}</tool_call>' in said
    whole, said = texts["glaive"]
    assert 'I look it up.<tool_call>{"name": "get_rate"' in said
    assert '<tool_response>\n{"rate": 1.1}\n</tool_response>' in whole
    assert "<tool_response>" not in said
    assert '"arguments": {"code": "print(7)", "input": ""}' in texts["magicoder-oss"][1]
    assert "# Tools" not in texts["tulu3"][0]
    assert said.count("<|im_end|>") == 2


def test_what_is_prepared_is_known_by_id_and_source_with_the_fields_of_the_shipped_configs(
    write, published, tmp_path
):
    prepared(files_config(write, published), tmp_path)
    fields = load_config(CONFIG.with_name("qwen3-14b.toml")).problems.fields
    paths = Fields(question=fields.question, answer=fields.answer, id=fields.id, task=fields.task)
    assert {p.task for p in load(str(tmp_path / "problems.jsonl"), fields=paths).problems} == {
        "dapo", "aops", "project-euler"
    }  # fmt: skip
    (benchmark,) = load(str(tmp_path / "benchmarks/aime24.jsonl"), fields=paths).problems
    assert (benchmark.id, benchmark.task) == ("aime24/1", "aime24")


def test_the_second_time_nothing_is_made(write, published, tmp_path):
    config = files_config(write, published)
    assert len(prepared(config, tmp_path / "data")[1]) == 10
    before = contents(tmp_path / "data")
    assert prepared(config, tmp_path / "data")[1] == []
    assert contents(tmp_path / "data") == before


@pytest.mark.parametrize("shard", ["rl/dapo.jsonl", "sft/tulu3.jsonl"])
def test_a_shard_that_somebody_removed_is_made_again(write, published, tmp_path, shard):
    config = files_config(write, published)
    prepared(config, tmp_path / "data")
    before = contents(tmp_path / "data")
    (tmp_path / "data/shards" / shard).unlink()
    assert prepared(config, tmp_path / "data")[1] == [Path(shard).stem]
    assert contents(tmp_path / "data") == before


def test_a_changed_source_is_made_anew_and_no_other(write, published, tmp_path):
    prepared(files_config(write, published), tmp_path / "data")
    published["dapo"]["reward_model"]["ground_truth"] = "-12"
    _, made = prepared(files_config(write, published), tmp_path / "data")
    assert "dapo" in made
    assert records(tmp_path / "data/problems.jsonl")[0]["answer"] == "-12"


def test_a_benchmark_that_is_no_longer_named_leaves_no_file_and_no_count(write, published, tmp_path):
    config = files_config(write, published)
    more = BENCHMARKS | {"math500": BENCHMARKS["aime24"]}
    (tmp_path / "benchmarks").mkdir()
    write("benchmarks/mine", {"question": "Mine?", "answer": "1"})
    for benchmarks in (more, BENCHMARKS, {}):
        (tmp_path / "manifest.json").unlink(missing_ok=True)  # as if the last preparation was stopped
        manifest, _ = prepared(config, tmp_path, benchmarks=benchmarks)
        assert {path.stem for path in (tmp_path / "benchmarks").iterdir()} == {*benchmarks, "mine"}
        names = [counted.name for count in manifest.problems for counted in count.filters]
        assert ("8-gram overlap" in names) == bool(benchmarks)
        said = "nothing was decontaminated: give benchmarks.names."
        assert (said in manifest.remarks) == (not benchmarks)


def test_a_skipped_source_is_counted_as_nothing_and_named(write, published, tmp_path):
    config = files_config(write, published, "conversations.glaive.skip=true")
    manifest, _ = prepared(config, tmp_path)
    assert [c.num_rows for c in manifest.conversations if c.name == "glaive"] == [0]
    assert any("glaive is left out" in remark for remark in manifest.remarks)


def test_labels_that_the_model_does_not_confirm_are_dropped(write, published, tmp_path):
    rows = [published["aops"], published["aops"] | {"problem": "What is 5?", "expected_answer": "5"}]
    config = files_config(write, published, f"problems.aops.path={write('two', *rows)}")
    checker = Answering()
    manifest, _ = prepared(config, tmp_path / "data", checker=checker)
    assert [p["answer"] for p in records(tmp_path / "data/problems.jsonl")] == ["12", "4", "233168"]
    last = manifest.problems[1].filters[-1]
    assert (last.name, last.num_before, last.num_after) == ("label check", 2, 1)
    assert checker.num_asked == 1 + 4  # four answers of four agree at once; sixteen do not
    prepared(config, tmp_path / "data", checker=checker)
    assert checker.num_asked == 5


def test_what_is_to_be_written_anew_is(write, published, tmp_path):
    writer = Answering()
    prepared(files_config(write, published), tmp_path, writer=writer)
    by_source = {record["source"]: record["messages"] for record in records(tmp_path / "sft.jsonl")}
    assert [m["content"] for m in by_source["tulu3"]] == ["Name a fruit.", "ANEW \\boxed{4}"]
    assert [m["content"] for m in by_source["nemotron"]] == ["ANEW \\boxed{4}", "Hello."]
    assert writer.num_asked == 2


def test_what_the_model_refuses_is_counted_and_asked_again_the_next_time(write, published, tmp_path):
    config = files_config(write, published)
    manifest, _ = prepared(config, tmp_path / "data", checker=Refusing(), writer=Refusing())
    refused = {
        count.name: counted.num_before - counted.num_after
        for count in (*manifest.conversations, *manifest.problems)
        for counted in count.filters
        if counted.name == "refused by the model"
    }
    assert refused == {"tulu3": 1, "nemotron": 1, "aops": 1}
    prepared(config, tmp_path / "data", checker=Answering(), writer=Answering())
    assert len(records(tmp_path / "data/problems.jsonl")) == 3
    assert len(records(tmp_path / "data/sft.jsonl")) == 7


@pytest.mark.parametrize("num_at_once", [1, 7])
def test_a_preparation_killed_after_every_reply_ends_as_if_nothing_had_happened(
    write, published, tmp_path, num_at_once
):
    rows = [published["aops"] | {"problem": f"What is {n}?", "expected_answer": str(n)} for n in range(6)]
    config = files_config(
        write,
        published,
        f"problems.aops.path={write('six', *rows)}",
        f"label_check.num_requests={num_at_once}",
        "label_check.answers_per_request=16",
    )
    undisturbed = prepared(config, tmp_path / "undisturbed", checker=Answering())[0]
    num_deaths = num_asked = 0
    while True:
        checker = Answering(dies_after=1)
        try:
            manifest, _ = prepared(config, tmp_path / "killed", checker=checker)
            break
        except KilledError:
            num_deaths += 1
        finally:
            num_asked += checker.num_asked
    assert (num_deaths, num_asked) == (5, 6)
    assert manifest == undisturbed
    assert contents(tmp_path / "killed") == contents(tmp_path / "undisturbed")


def test_where_nothing_is_left_no_file_of_an_earlier_time_is(write, published, tmp_path):
    prepared(files_config(write, published), tmp_path)
    for name in ("dapo", "aops", "project-euler"):
        published[name] = {key: "none" if key.endswith("answer") else v for key, v in published[name].items()}
    published["dapo"]["reward_model"] = {"ground_truth": "none"}
    manifest, _ = prepared(files_config(write, published), tmp_path)
    assert [count.num_kept for count in manifest.problems] == [0, 0, 0]
    assert not (tmp_path / "problems.jsonl").exists()


def test_halves_of_surrogate_pairs_cannot_stop_it(write, published, tmp_path):
    published["dapo"]["prompt"] += " \ud83d"
    published["tulu3"]["messages"][0]["content"] += " \ud83d"
    published["apigen-mt"]["conversations"][1]["value"] = (
        '{"name": "find_order", "arguments": {"id": "\\ud83d"}}'
    )
    manifest, _ = prepared(files_config(write, published), tmp_path)
    assert [count.num_kept for count in (*manifest.conversations, *manifest.problems)] == [1] * 10
    assert records(tmp_path / "problems.jsonl")[0]["question"].endswith(" ?")


def test_a_preparation_of_problems_alone_needs_no_conversations(write, published, tmp_path):
    config = parse_section(
        PreparationConfig,
        {"problems": {"x": {"path": write("x", {"question": "a", "answer": 1}), "licence": "MIT"}}},
        origin="x",
    )
    manifest, _ = prepared(config, tmp_path)
    assert (len(manifest.conversations), len(manifest.problems)) == (0, 1)
    assert not (tmp_path / "sft.jsonl").exists()
