"""`rstar2 data prepare` with files in place of the hub, and a served model that is a real HTTP server."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rstar2.cli import app

CONFIG = """
paper_problems = 42_000
[benchmarks]
names = ["aime24"]
files = { aime24 = ["AIME"] }
[conversations.tulu3]
path = "TULU"
format = "messages"
licence = "ODC-BY-1.0"
paper = 30_000
[problems.aops]
path = "AOPS"
check_labels = true
licence = "CC-BY-4.0"
paper = 93_000
[label_check]
model = "checker"
patience_s = 1.5
"""


def lines(*records: object) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


@pytest.fixture
def prepare(tmp_path: Path):
    files = {
        "AIME": lines({"id": "60", "problem": "a b c d e f g h", "answer": "5"}),
        "TULU": lines(
            {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]},
            {"messages": [{"role": "user", "content": "q"}]},
        ),
        "AOPS": lines(
            {"question": "What is two?", "answer": "2"},
            {"question": "What is three?", "answer": "4"},
            {"question": "a b c d e f g h i", "answer": "5"},
        ),
    }
    text = CONFIG
    for name, content in files.items():
        (tmp_path / f"{name}.jsonl").write_text(content)
        text = text.replace(f'"{name}"', f'"{tmp_path / name}.jsonl"')
    (tmp_path / "data.toml").write_text(text)

    def _prepare(*overrides: str):
        words = [word for override in overrides for word in ("-s", override)]
        return CliRunner().invoke(
            app, ["data", "prepare", str(tmp_path / "data.toml"), "--to", str(tmp_path / "data"), *words]
        )

    return _prepare


class AlwaysTwo(BaseHTTPRequestHandler):
    """A model that knows one number, and a server that fails at first."""

    num_failures_left = 0
    num_asked = 0
    pause_s = 0.0

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if type(self).num_failures_left:
            type(self).num_failures_left -= 1
            self.send_error(503)
            return
        type(self).num_asked += 1
        time.sleep(self.pause_s)
        choice = {"message": {"role": "assistant", "content": "\\boxed{2}"}}
        content = json.dumps({"choices": [choice] * body["n"]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def server() -> Iterator[str]:
    AlwaysTwo.num_failures_left, AlwaysTwo.pause_s = 1, 0.0
    with ThreadingHTTPServer(("127.0.0.1", 0), AlwaysTwo) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}/v1"
        http.shutdown()
        thread.join()


def answers(folder: Path) -> list[str]:
    return [json.loads(line)["answer"] for line in (folder / "problems.jsonl").read_text().splitlines()]


def rows_of(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines() if line.strip()]


def test_the_tables_tell_rows_kept_and_the_papers_count(prepare, tmp_path):
    result = prepare()
    assert result.exit_code == 0, result.output
    rows = rows_of(result.output)
    assert ["tulu3", "2", "1", "30,000", "ODC-BY-1.0"] in rows
    assert ["aops", "3", "2", "93,000", "CC-BY-4.0"] in rows
    assert ["in", "all", "2", "1"] in rows
    assert ["in", "all", "3", "2", "42,000"] in rows
    assert ["tulu3", "no", "assistant", "2", "1", "1"] in rows
    assert ["aops", "8-gram", "overlap", "3", "1", "2"] in rows
    assert "aops: labels are as published, not checked: give label_check.url." in result.output
    assert answers(tmp_path / "data") == ["2", "4"]


@pytest.mark.integration
def test_labels_are_checked_by_a_server_that_stumbles(prepare, server, tmp_path):
    result = prepare(f"label_check.url={server}", "label_check.patience_s=60")
    assert result.exit_code == 0, result.output
    assert ["aops", "label", "check", "2", "1", "1"] in rows_of(result.output)
    assert answers(tmp_path / "data") == ["2"]


def test_a_server_that_is_not_there_is_exit_code_1_and_the_rest_is_kept(prepare, tmp_path):
    result = prepare("label_check.url=http://127.0.0.1:9/v1", "label_check.patience_s=0")
    assert result.exit_code == 1
    assert "the same command then goes on" in result.stderr
    assert (tmp_path / "data/sft.jsonl").exists()
    assert not (tmp_path / "data/problems.jsonl").exists()


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("conversations.tulu3.format=csv", "conversations.tulu3.format: Input should be"),
        ("conversations.tulu3.formatt=x", "conversations.tulu3.formatt: unknown key; known here: hub, path"),
        ("conversations.tulu3.format=glaive", "has no column 'system' (there is 'messages')"),
        ("problems.aops.question=problem", "line 1 has no column 'problem'"),
        ("conversations.tulu3.path=", "this source has no hub id"),
        ("label_check.url=nowhere", "url must be written as http://HOST:PORT/v1"),
        ("label_check.min_agreeing=17", "min_agreeing (17) must not exceed answers (16)"),
        ("rewriting.url=http://x/v1", "rewriting: model is missing"),
        ("benchmarks.names=[]", "files are given for 'aime24'"),
        ("problems.aops.path=nowhere.jsonl", "nowhere.jsonl cannot be read"),
    ],
)
def test_what_cannot_be_prepared_is_one_sentence(prepare, override, sentence):
    result = prepare(override)
    assert result.exit_code == 2, result.output
    assert sentence in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_folder_that_another_process_fills_is_refused(prepare, another_process_in, tmp_path):
    with another_process_in(tmp_path / "data"):
        result = prepare()
    assert result.exit_code == 2
    assert result.stderr.startswith(f"rstar2: another process prepares '{tmp_path / 'data'}': wait for it")


@pytest.mark.integration
def test_a_killed_process_asks_for_no_label_twice(prepare, server, tmp_path):
    """SIGKILL after some labels; the same command then asks about the others."""
    rows = [{"question": f"What is {n}?", "answer": n} for n in range(30)]
    (tmp_path / "AOPS.jsonl").write_text(lines(*rows))
    overrides = [f"label_check.url={server}", "label_check.num_requests=1", "label_check.answers=2"]
    AlwaysTwo.num_failures_left, AlwaysTwo.pause_s, AlwaysTwo.num_asked = 0, 0.05, 0
    words = [word for override in overrides for word in ("-s", override)]
    program = [sys.executable, "-c", "from rstar2.cli import main; main()"]
    command = [*program, "data", "prepare", str(tmp_path / "data.toml"), "--to", str(tmp_path / "data")]
    with subprocess.Popen([*command, *words], stdout=subprocess.DEVNULL) as child:
        while AlwaysTwo.num_asked < 5:
            assert child.poll() is None
            time.sleep(0.01)
        child.kill()
    num_before = AlwaysTwo.num_asked
    AlwaysTwo.pause_s = 0.0
    assert prepare(*overrides).exit_code == 0
    assert num_before < 30
    assert AlwaysTwo.num_asked in (30, 31)  # one may have been under way
    assert answers(tmp_path / "data") == ["2"]
