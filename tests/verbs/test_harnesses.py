"""Well-kept harnesses measure a tiny model through `rstar2 serve`, as they measure any other server.

They live in environments of their own (`make harnesses`), as they bring much with them.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from rstar2.protocol.tokenizer import load_tokenizer

ROOT = Path(__file__).parents[2]
PROGRAMS = ROOT / ".venv-harnesses/bin"
BFCL_PYTHON = ROOT / ".venv-bfcl/bin/python"
TASKS = Path(__file__).parent / "harnesses"
PROGRAM = (sys.executable, "-c", "from rstar2.cli import main; main()")

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        not (PROGRAMS.exists() and BFCL_PYTHON.exists()), reason="no harness is here: make harnesses"
    ),
]


@pytest.fixture(scope="module")
def url(checkpoint: Path) -> Iterator[str]:
    with served_by(*PROGRAM, "serve", "--model", checkpoint, "--port", 0, "--echo") as url:
        yield url


@pytest.fixture(scope="module")
def knowing_url(checkpoint: Path) -> Iterator[str]:
    """Of a server whose model knows some of the answers."""
    with served_by(sys.executable, TASKS / "by_heart.py", checkpoint) as url:
        yield url


@contextmanager
def served_by(*command: object) -> Iterator[str]:
    with subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True) as server:
        try:
            yield server.stdout.readline().split()[1]
        finally:
            server.terminate()


def run(folder: Path, program: Path, *arguments: object, **environment: str) -> None:
    """Where relative paths of the tasks lead to their rows, and without the hub."""
    done = subprocess.run(
        [program, *map(str, arguments)],
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
        tmp_path, PROGRAMS / "lm_eval", "run", "--model", "local-completions", "--include_path", ".",
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
        tmp_path, PROGRAMS / "lm_eval", "run", "--model", "local-chat-completions", "--include_path", ".",
        "--model_args", f"model={checkpoint},base_url={url}/chat/completions,num_concurrent=2",
        "--tasks", "sums_text", "--apply_chat_template", "--output_path", tmp_path, "--log_samples",
    )  # fmt: skip
    assert all(sample["resps"][0][0] for sample in samples_of_lm_eval(tmp_path))


def test_inspect_lets_the_model_write(url, checkpoint, tmp_path):
    run(
        tmp_path, PROGRAMS / "inspect", "eval", "sums.py", "--model", f"openai-api/rstar2/{checkpoint}",
        "--max-tokens", 20, "--temperature", 0, "--log-dir", tmp_path, "--log-format", "json",
        RSTAR2_API_KEY="none", RSTAR2_BASE_URL=url,
    )  # fmt: skip
    (file,) = tmp_path.glob("*.json")
    log = json.loads(file.read_text())
    assert log["status"] == "success"
    assert [bool(sample["output"]["completion"]) for sample in log["samples"]] == [True, True]


def ifeval(
    folder: Path, checkpoint: Path, url: str, *, is_answer_alone: bool = False
) -> tuple[dict[str, float], list[dict[str, object]]]:
    """(scores, samples) of lm-eval's own task, with rows of ours in place of those on the hub."""
    (shipped,) = PROGRAMS.parent.glob("lib/*/site-packages/lm_eval/tasks/ifeval/ifeval.yaml")
    task = {"include": str(shipped), "task": "ifeval_rows", "dataset_path": "json"}
    task["dataset_kwargs"] = {"data_files": {"train": "ifeval_rows.jsonl"}}
    (folder / "ifeval_rows.yaml").write_text(json.dumps(task))  # JSON is YAML
    begins, ends = (",think_end_token=<answer>", ['until=["</answer>"]']) if is_answer_alone else ("", [])
    run(
        folder, PROGRAMS / "lm_eval", "run", "--model", "local-chat-completions", "--include_path", folder,
        "--model_args", f"model={checkpoint},base_url={url}/chat/completions,num_concurrent=2{begins}",
        "--tasks", "ifeval_rows", "--gen_kwargs", "max_gen_toks=40", *ends, "--apply_chat_template",
        "--output_path", folder, "--log_samples",
    )  # fmt: skip
    (file,) = folder.rglob("results_*.json")
    scores = json.loads(file.read_text())["results"]["ifeval_rows"]
    return {name.split(",")[0]: score for name, score in scores.items()}, samples_of_lm_eval(folder)


def test_ifeval_scores_what_the_model_wrote(url, checkpoint, tmp_path):
    _, samples = ifeval(tmp_path, checkpoint, url)
    written = [sample["resps"][0][0] for sample in samples]
    assert all(written)
    no_comma = [sample["inst_level_strict_acc"][0] for sample in samples[:2]]
    assert no_comma == ["," not in text for text in written[:2]]


@pytest.mark.parametrize(
    ("is_answer_alone", "prompts", "instructions"),
    [(False, (0, 1 / 3), (2 / 5, 3 / 5)), (True, (1 / 3, 2 / 3), (3 / 5, 4 / 5))],
)
def test_ifeval_knows_right_from_wrong(
    is_answer_alone, prompts, instructions, knowing_url, checkpoint, tmp_path
):
    """(strict, loose) shares; there is a comma in the reasoning of what is otherwise right."""
    scores, _ = ifeval(tmp_path, checkpoint, knowing_url, is_answer_alone=is_answer_alone)
    for of, expected in (("prompt", prompts), ("inst", instructions)):
        found = scores[f"{of}_level_strict_acc"], scores[f"{of}_level_loose_acc"]
        assert found == pytest.approx(expected)


LIVE_PARALLEL = 16
"""Entries of BFCL's smallest category; it scores none in part."""


def bfcl(folder: Path, url: str, *arguments: object) -> None:
    run(
        folder, BFCL_PYTHON, ROOT / "examples/bfcl.py", *arguments, "--model", "rstar2",
        OPENAI_BASE_URL=url, OPENAI_API_KEY="none", BFCL_PROJECT_ROOT=str(folder),
    )  # fmt: skip


def results_of_bfcl(folder: Path, category: str) -> dict[str, object]:
    (file,) = folder.glob(f"result/rstar2/BFCL_v3_{category}_result.json")
    lines = map(json.loads, file.read_text().splitlines())
    return {line["id"]: line["result"] for line in lines}


def scores_of_bfcl(folder: Path) -> tuple[dict[str, object], dict[str, str]]:
    """(of the category, kinds of error by entry)."""
    (file,) = folder.glob("score/rstar2/BFCL_v3_live_parallel_score.json")
    first, *wrong = map(json.loads, file.read_text().splitlines())
    return first, {entry["id"]: entry["error_type"] for entry in wrong}


def test_bfcl_scores_what_the_model_wrote(url, tmp_path):
    asked = ("--test-category", "live_parallel")
    bfcl(tmp_path, url, "generate", *asked, "--temperature", 0, "--num-threads", 2)
    results = results_of_bfcl(tmp_path, "live_parallel")
    assert len(results) == LIVE_PARALLEL
    assert all(text and not text.startswith("Error") for text in results.values())
    bfcl(tmp_path, url, "evaluate", *asked)
    scores, errors = scores_of_bfcl(tmp_path)
    assert scores == {"accuracy": 0, "correct_count": 0, "total_count": LIVE_PARALLEL}
    assert set(errors.values()) == {"ast_decoder:decoder_failed"}  # it made no call


def test_bfcl_knows_right_from_wrong(knowing_url, tmp_path):
    bfcl(tmp_path, knowing_url, "generate", "--test-category", "live_parallel", "--temperature", 0)
    bfcl(tmp_path, knowing_url, "evaluate", "--test-category", "live_parallel")
    scores, errors = scores_of_bfcl(tmp_path)
    assert scores == {"accuracy": 3 / 16, "correct_count": 3, "total_count": LIVE_PARALLEL}
    assert errors.pop("live_parallel_6-3-0") == "parallel_function_checker_no_order:cannot_find_match"
    assert set(errors.values()) == {"ast_decoder:decoder_failed"}


def test_bfcl_s_tools_answer_the_model(knowing_url, tmp_path):
    wanted = {"multi_turn_base": ["multi_turn_base_0"]}
    (tmp_path / "test_case_ids_to_generate.json").write_text(json.dumps(wanted))
    bfcl(tmp_path, knowing_url, "generate", "--run-ids", "--temperature", 0)
    (turns,) = results_of_bfcl(tmp_path, "multi_turn_base").values()
    call = [{"cd": '{"folder": "document"}'}]
    assert turns == [[call, "I am in document."], *[["I do not know."]] * 3]
