"""Well-kept harnesses measure a tiny model through `rstar2 serve`, as they measure any other server.

They live in an environment of their own (`make harnesses`), as they bring much with them.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from rstar2.protocol.tokenizer import load_tokenizer

ROOT = Path(__file__).parents[2]
PROGRAMS = ROOT / ".venv-harnesses/bin"
TASKS = Path(__file__).parent / "harnesses"
PROGRAM = (sys.executable, "-c", "from rstar2.cli import main; main()")

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not PROGRAMS.exists(), reason="no harness is here: make harnesses"),
]


@pytest.fixture(scope="module")
def url(checkpoint: Path) -> Iterator[str]:
    command = [*PROGRAM, "serve", "--model", str(checkpoint), "--port", "0", "--echo"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            yield server.stdout.readline().split()[1]
        finally:
            server.terminate()


def run(folder: Path, program: str, *arguments: object, **environment: str) -> None:
    """Where relative paths of the tasks lead to their rows, and without the hub."""
    done = subprocess.run(
        [PROGRAMS / program, *map(str, arguments)],
        cwd=TASKS,
        env=os.environ | {"HF_HUB_OFFLINE": "1", "HOME": str(folder), **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def samples_of_lm_eval(folder: Path) -> list[dict[str, object]]:
    (file,) = folder.rglob("samples_*.jsonl")
    return [json.loads(line) for line in file.read_text().splitlines()]


def logprob(checkpoint: Path, context: str, continuation: str) -> float:
    """Of the continuation, by transformers alone."""
    tokenizer = load_tokenizer(str(checkpoint))
    num_before, token_ids = len(tokenizer.encode(context)), tokenizer.encode(context + continuation)
    with torch.no_grad():
        logits = AutoModelForCausalLM.from_pretrained(checkpoint)(torch.tensor([token_ids])).logits[0, :-1]
    of_tokens = logits.log_softmax(-1).gather(1, torch.tensor(token_ids[1:])[:, None])[:, 0]
    return float(of_tokens[num_before - 1 :].sum())


def test_lm_eval_reads_the_log_probs_that_transformers_computes(url, checkpoint, tmp_path):
    model = f"model={checkpoint},tokenizer={checkpoint},tokenizer_backend=huggingface"
    run(
        tmp_path, "lm_eval", "run", "--model", "local-completions", "--include_path", ".",
        "--model_args", f"{model},base_url={url}/completions,num_concurrent=2",
        "--tasks", "sums_choice", "--output_path", tmp_path, "--log_samples",
    )  # fmt: skip
    samples = samples_of_lm_eval(tmp_path)
    assert [len(sample["resps"]) for sample in samples] == [3, 2]
    for sample in samples:
        for asked, ((found, _),) in zip(sample["arguments"].values(), sample["resps"], strict=True):
            expected = logprob(checkpoint, asked["arg_0"], asked["arg_1"])
            assert float(found) == pytest.approx(expected, abs=1e-3)


def test_lm_eval_lets_the_model_write(url, checkpoint, tmp_path):
    run(
        tmp_path, "lm_eval", "run", "--model", "local-chat-completions", "--include_path", ".",
        "--model_args", f"model={checkpoint},base_url={url}/chat/completions,num_concurrent=2",
        "--tasks", "sums_text", "--apply_chat_template", "--output_path", tmp_path, "--log_samples",
    )  # fmt: skip
    assert all(sample["resps"][0][0] for sample in samples_of_lm_eval(tmp_path))


def test_inspect_lets_the_model_write(url, checkpoint, tmp_path):
    run(
        tmp_path, "inspect", "eval", "sums.py", "--model", f"openai-api/rstar2/{checkpoint}",
        "--max-tokens", 20, "--temperature", 0, "--log-dir", tmp_path, "--log-format", "json",
        RSTAR2_API_KEY="none", RSTAR2_BASE_URL=url,
    )  # fmt: skip
    (file,) = tmp_path.glob("*.json")
    log = json.loads(file.read_text())
    assert log["status"] == "success"
    assert [bool(sample["output"]["completion"]) for sample in log["samples"]] == [True, True]
