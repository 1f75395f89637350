import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.text import Text

from rstar2 import console as console_module
from rstar2.console import printable, progress_bar, show_code, show_result, show_text, summary_table

ROW = {
    "name": "stage3",
    "steps": 12345,
    "pass_at_1": 1.0,
    "pass_at_1_ci95": [0.99, 1.0],
    "tool_error_rate": 1.0,
    "tool_error_rate_correct": 1.0,
    "calls_per_rollout": 10.25,
    "tokens_per_rollout": 12345.6,
    "clip_ratio": 1.0,
    "wall_s": 12345.6,
}


@pytest.fixture
def shown(monkeypatch) -> io.StringIO:
    """What is printed, on a terminal of 80 columns."""
    screen = io.StringIO()
    terminal = Console(
        file=screen, width=80, highlight=False, markup=False, force_terminal=True, color_system=None
    )
    monkeypatch.setattr(console_module, "console", terminal)
    return screen


def test_the_summary_fits_80_columns_even_with_wide_numbers(shown):
    console_module.console.print(summary_table([ROW]))
    text = shown.getvalue()
    assert max(map(len, text.splitlines())) <= 80
    for cell in ("stage3", "12345", "99-100%", "10.25", "12346 s"):
        assert cell in text


@given(st.text())
def test_no_control_character_reaches_the_terminal(text):
    assert all(c.isprintable() or c in "\n\t" for c in printable(text))


@given(st.text(alphabet=st.characters(categories=["L", "N", "P", "S"])))
def test_ordinary_text_is_left_alone(text):
    assert printable(text) == text


def test_escape_sequences_are_shown_and_not_obeyed():
    assert printable("\x1b[2J\r\x07\u202e") == r"\x1b[2J\r\x07\u202e"


@pytest.mark.parametrize("show", [show_text, show_code, lambda text: show_result(text, is_error=True)])
def test_markup_in_a_models_text_stays_text(shown, show):
    show("[red]x[/red] [link=a]")
    assert "[red]x[/red] [link=a]" in Text.from_ansi(shown.getvalue()).plain


def test_colons_do_not_make_emoji(capsys):
    show_text("the ratio a:b:c, {x :x: 3}")
    assert capsys.readouterr().out == "the ratio a:b:c, {x :x: 3}\n"


def test_a_bar_is_labelled_with_text(shown):
    with progress_bar() as watcher:
        watcher.begin("[bold]:x:", 1)
    assert "[bold]:x:" in shown.getvalue()


def test_an_empty_result_is_not_invisible(shown):
    show_result("", is_error=False)
    assert shown.getvalue() == "  | (nothing)\n"


def test_lines_appear_above_the_bar_and_the_bar_goes_away(shown):
    with progress_bar() as watcher:
        watcher.begin("rollouts", 2)
        watcher.advance()
        watcher.line("half way [50%, 60%]")
    assert "half way [50%, 60%]" in shown.getvalue()
