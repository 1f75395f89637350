"""What is kept of a program's output."""

import os

from hypothesis import given
from hypothesis import strategies as st

from rstar2.sandbox.capture import both_ends


def _file(content: bytes) -> int:
    fd = os.memfd_create("test")
    os.write(fd, content)
    return fd


def _both_ends(content: bytes, keep_chars: int) -> tuple[str, bool]:
    fd = _file(content)
    try:
        return both_ends(fd, keep_chars)
    finally:
        os.close(fd)


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=200), st.integers(1, 60))
def test_short_text_is_whole_and_long_text_keeps_exactly_its_ends(text: str, keep_chars: int) -> None:
    kept, is_cut = _both_ends(text.encode(), keep_chars)
    if len(text) <= keep_chars:
        assert (kept, is_cut) == (text, False)
    else:
        marker = f"\n[... cut here; {len(text.encode())} bytes in all ...]\n"
        num_tail = keep_chars // 2
        head, tail = text[: keep_chars - num_tail], text[len(text) - num_tail :]
        assert (kept, is_cut) == (head + marker + tail, True)


@given(st.binary(max_size=100), st.integers(1, 60))
def test_any_bytes_become_text(content: bytes, keep_chars: int) -> None:
    kept, is_cut = _both_ends(content, keep_chars)
    assert is_cut == (len(content.decode("utf-8", "replace")) > keep_chars)
    kept.encode()


def test_what_lies_before_the_start_does_not_count() -> None:
    fd = _file(b"vabcd")
    try:
        assert both_ends(fd, 4, start=1) == ("abcd", False)
        assert both_ends(fd, 3, start=1) == ("ab\n[... cut here; 4 bytes in all ...]\nd", True)
        assert both_ends(fd, 4, start=9) == ("", False)
    finally:
        os.close(fd)


def test_a_flood_is_not_read_whole() -> None:
    fd = os.memfd_create("test")
    os.pwrite(fd, b"start", 0)
    os.pwrite(fd, b"end", 1 << 40)
    kept, _ = both_ends(fd, 6)
    os.close(fd)
    assert kept == "sta\n[... cut here; 1099511627779 bytes in all ...]\nend"
