"""What is mistyped is said at once, and not after the seconds that torch takes to load."""

import subprocess
import sys

import pytest

PROGRAM = "import sys; sys.modules['torch'] = None; from rstar2.cli import main; main()"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["analyze"], "name either a run, or a checkpoint"),
        (["analyze", "missing"], "'missing' holds no evaluation yet"),
        (["eval", "--model", "missing", "--benchmark", "xyz"], "there is no benchmark 'xyz'"),
        (["eval", "--model", "missing", "--benchmark", "ifeval"], "IFEval is measured by lm-eval"),
    ],
)
def test_a_slip_is_told_without_torch(tmp_path, arguments, sentence):
    command = [sys.executable, "-c", PROGRAM, *arguments]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert sentence in done.stderr
