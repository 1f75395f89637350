from pathlib import Path

import pytest

from rstar2.bearer_token import is_shown, read_token
from rstar2.errors import ConfigError


def test_the_token_is_what_stands_in_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "token").write_text(" s3cret\n")
    assert read_token(tmp_path / "token", setting="x") == "s3cret"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert read_token("~/token", setting="x") == "s3cret"


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, r"sandbox.token_file cannot be read .*token"),
        (b"\xff\xfe", "sandbox.token_file cannot be read"),
        (b" \n", "is empty"),
        (b"one\ntwo\n", "one line of ASCII"),
        ("gehe\u00efm".encode(), "one line of ASCII"),
    ],
)
def test_a_file_without_a_token_is_named_with_the_setting_that_led_there(
    tmp_path: Path, content: bytes | None, complaint: str
) -> None:
    if content is not None:
        (tmp_path / "token").write_bytes(content)
    with pytest.raises(ConfigError, match=complaint) as caught:
        read_token(tmp_path / "token", setting="sandbox.token_file")
    assert str(caught.value).startswith("sandbox.token_file")


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer s3cre", "Bearer s3cret ", "s3cret", "Bearer \udcff"]
)
def test_only_the_whole_token_is_shown(header: str) -> None:
    assert is_shown("Bearer s3cret", "s3cret")
    assert not is_shown(header, "s3cret")
