import sys

from rstar2.corpus.trial import try_out
from rstar2.types import ToolResult, ToolStatus


def test_a_snippet_that_runs_says_what_it_printed() -> None:
    assert try_out("import math\nprint(math.gcd(4, 6))") == ToolResult(
        status=ToolStatus.OK, stdout="2\n", exit_code=0
    )


def test_a_snippet_that_fails_keeps_what_it_printed_and_its_last_line_of_error() -> None:
    result = try_out("print(1)\nprint(nothing)")
    assert result.status is ToolStatus.EXCEPTION
    assert (result.stdout, result.stderr) == ("1\n", "NameError: name 'nothing' is not defined")


def test_a_snippet_that_does_not_parse_is_a_failure_too() -> None:
    assert "SyntaxError" in try_out("print(1 x 2)").stderr


def test_snippets_do_not_see_each_others_names_and_stdout_comes_back() -> None:
    before = sys.stdout
    try_out("leaked = 1\nraise ValueError")
    assert "NameError" in try_out("print(leaked)").stderr
    assert sys.stdout is before
