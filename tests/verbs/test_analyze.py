"""`rstar2 analyze` with a tiny model with random weights, on rollouts that it never wrote."""

import json

import pytest
import torch
from transformers import AutoModelForCausalLM
from typer.testing import CliRunner

from rstar2.cli import app
from rstar2.protocol.template import call_text
from rstar2.protocol.tokenizer import load_tokenizer

pytestmark = pytest.mark.integration

END = "<|im_end|>"
TEXTS = (
    ("prompt", "<|im_start|>user\nWhat is 6 * 7?<|im_end|>\n<|im_start|>assistant\n<reason>"),
    ("model", "I run it</reason>" + call_text("print(6 * 7)") + END),
    ("environment", "\n<|im_start|>user\n<tool_response>\n42\n</tool_response><|im_end|>\n<reason>"),
    ("model", "</reason><answer>\\boxed{42}</answer>" + END),
)


@pytest.fixture
def rstar2(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "100")
    return lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def line(checkpoint):
    """A recorded rollout in the checkpoint's tokens."""
    tokenizer = load_tokenizer(str(checkpoint))
    return {
        "phase": "evaluation/rl1", "step": 1, "problem": "p", "index": 0, "reward": 1.0, "answer": "42",
        "statuses": ["ok"], "calls": ["print(6 * 7)", None],
        "segments": [{"source": s, "text": t, "token_ids": tokenizer.encode(t)} for s, t in TEXTS],
    }  # fmt: skip


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_entropies_of_recorded_tokens_are_those_that_transformers_computes(
    rstar2, checkpoint, line, tmp_path, temperature
):
    file = tmp_path / "rollouts.jsonl"
    file.write_text(json.dumps(line) + "\n")
    done = rstar2("analyze", "--model", checkpoint, "--rollouts", file, "--temperature", temperature)
    assert (done.exit_code, done.stderr) == (0, "")
    found = json.loads((tmp_path / "entropies.jsonl").read_text())["turns"]
    assert ["".join(turn["pieces"]) for turn in found] == [TEXTS[1][1], TEXTS[3][1]]

    token_ids = [token for segment in line["segments"] for token in segment["token_ids"]]
    model = AutoModelForCausalLM.from_pretrained(checkpoint)
    with torch.no_grad():
        logits = model(torch.tensor([token_ids])).logits[0] / temperature
    entropies = torch.distributions.Categorical(logits=logits).entropy().tolist()
    lengths = [len(segment["token_ids"]) for segment in line["segments"]]
    start = 0
    for turn, place in zip(found, (1, 3), strict=True):
        start = sum(lengths[:place])
        expected = entropies[start - 1 : start - 1 + lengths[place]]
        assert turn["entropies_nats"] == pytest.approx(expected, abs=1e-4)


def test_a_run_is_analyzed_phase_by_phase(rstar2, checkpoint, line, tmp_path):
    run = checkpoint.parents[1]
    other = line | {"phase": "rl1", "kept": True}
    lines = [line, line | {"problem": "q", "occasion": 1}, other]
    (run / "rollouts.jsonl").write_text("".join(json.dumps(each) + "\n" for each in lines))
    done = rstar2("analyze", run, "--out", tmp_path, "--limit", 5)
    assert (done.exit_code, done.stderr) == (0, "")
    assert "Turns that answer a tool's response" in done.stdout
    assert "tokenized anew" not in done.stdout
    analysis = json.loads((tmp_path / "analysis.json").read_text())
    (phase,) = analysis["phases"]
    assert (phase["phase"], phase["num_rollouts"]) == ("rl1", 2)
    assert phase["conduct"]["calls per right answer"]["value"] == 1.0
    assert analysis["tables"][0]["title"] == "Conduct"
    scored = [json.loads(each) for each in (tmp_path / "entropies.jsonl").read_text().splitlines()]
    keys = ("phase", "step", "problem", "occasion", "index")
    assert [[each.get(key) for key in keys] for each in scored] == [
        ["evaluation/rl1", 1, "p", None, 0], ["evaluation/rl1", 1, "q", 1, 0],
    ]  # fmt: skip


def test_transcripts_of_a_benchmark_can_be_analyzed_again(rstar2, checkpoint, line, tmp_path):
    transcript = {key: value for key, value in line.items() if key not in ("phase", "step")}
    for number in range(2):
        (tmp_path / f"000{number}-p.jsonl").write_text(
            json.dumps(transcript | {"problem": f"p{number}"}) + "\n"
        )
    for _ in range(2):
        done = rstar2("analyze", "--model", checkpoint, "--rollouts", tmp_path, "--limit", 1)
        assert (done.exit_code, done.stderr) == (0, "")
        assert len((tmp_path / "entropies.jsonl").read_text().splitlines()) == 1


def test_a_checkpoint_is_named_by_its_folder_from_within_it(rstar2, checkpoint, line, tmp_path, monkeypatch):
    file = tmp_path / "rollouts.jsonl"
    file.write_text(json.dumps(line) + "\n")
    monkeypatch.chdir(checkpoint)
    done = rstar2("analyze", "--model", ".", "--rollouts", file)
    assert (done.exit_code, done.stderr) == (0, "")
    (phase,) = json.loads((tmp_path / "analysis.json").read_text())["phases"]
    assert phase["phase"] == checkpoint.name


def test_an_analysis_that_is_refused_leaves_the_earlier_one(rstar2, checkpoint, line, tmp_path):
    (tmp_path / "rollouts.jsonl").write_text(json.dumps(line) + "\n")
    command = ("analyze", "--model", checkpoint, "--rollouts", tmp_path / "rollouts.jsonl")
    assert rstar2(*command).exit_code == 0
    earlier = (tmp_path / "entropies.jsonl").read_bytes()
    segments = [{**segment, "token_ids": [0]} for segment in line["segments"]]
    (tmp_path / "rollouts.jsonl").write_text(json.dumps(line | {"segments": segments}) + "\n")
    assert rstar2(*command).exit_code == 2
    assert (tmp_path / "entropies.jsonl").read_bytes() == earlier


def test_what_cannot_be_analyzed_is_one_sentence(rstar2, checkpoint, tmp_path):
    empty = tmp_path / "rollouts.jsonl"
    empty.write_text("")
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "rollouts.jsonl").write_text('{"problem": "p"}\n')
    for arguments, complaint in (
        ((), "name either a run"),
        (("--model", checkpoint), "name either a run"),
        ((tmp_path, "--model", checkpoint, "--rollouts", empty), "name either a run"),
        ((tmp_path,), "holds no evaluation yet"),
        ((kept,), "by --model and --rollouts"),
        (("--model", checkpoint, "--rollouts", empty), "holds no rollouts"),
        (("--model", tmp_path / "none", "--rollouts", empty), "holds no rollouts"),
    ):
        done = rstar2("analyze", *arguments)
        assert done.exit_code == 2
        assert complaint in done.stderr
