"""Files in one stream: what goes in comes out, and garbage hurts nobody."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rstar2.sandbox import parcel

_FILES = st.lists(st.tuples(st.text(st.characters(codec="utf-8"), max_size=20), st.binary(max_size=50)))


@given(_FILES)
def test_what_is_packed_comes_out(files: list[tuple[str, bytes]]) -> None:
    assert parcel.opened(parcel.packed(files), 1000) == tuple(files)


@given(_FILES, st.integers(0, 500))
def test_a_torn_stream_gives_the_files_before_the_tear(files: list[tuple[str, bytes]], keep: int) -> None:
    opened = parcel.opened(parcel.packed(files)[:keep], 1000)
    assert opened == tuple(files)[: len(opened)]
    assert len(parcel.packed(opened)) <= keep or not opened


def test_no_more_is_opened_than_was_asked_for() -> None:
    assert parcel.opened(parcel.packed([("a", b"1"), ("b", b"2"), ("c", b"3")]), 2) == (
        ("a", b"1"),
        ("b", b"2"),
    )


@given(st.binary(max_size=200))
def test_garbage_is_opened_without_complaint(stream: bytes) -> None:
    assert len(parcel.packed(parcel.opened(stream, 1000))) <= len(stream)


@pytest.fixture
def stream_fd() -> Iterator[int]:
    fd = os.memfd_create("stream")
    yield fd
    os.close(fd)


def _fetch(fd: int, *paths: str, largest_bytes: int = 10_000) -> tuple[tuple[str, bytes], ...]:
    wanted = parcel.packed((path, b"") for path in paths)
    os.pwrite(fd, wanted, 0)
    parcel.fetch_files_here(fd, largest_bytes)
    return parcel.opened(os.pread(fd, largest_bytes, len(wanted)), len(paths))


def test_files_are_put_below_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stream_fd: int
) -> None:
    monkeypatch.chdir(tmp_path)
    os.write(stream_fd, parcel.packed([("a/b/c", b"\x00\xff"), ("d", b"")]))
    parcel.put_files_here(stream_fd)
    assert (tmp_path / "a/b/c").read_bytes() == b"\x00\xff"
    assert (tmp_path / "d").read_bytes() == b""


def test_only_regular_files_are_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stream_fd: int
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").write_bytes(b"content")
    Path("link").symlink_to("file")
    Path("loop").symlink_to("loop")
    Path("endless").symlink_to("/dev/zero")
    Path("folder").mkdir()
    os.mkfifo("pipe")
    names = ("file", "link", "loop", "endless", "folder", "pipe", "missing", "file/not")
    assert _fetch(stream_fd, *names) == (("file", b"content"), ("link", b"content"))


def test_what_is_asked_for_is_closed_again_whatever_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stream_fd: int
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").write_bytes(b"content")
    Path("folder").mkdir()
    os.mkfifo("pipe")
    open_before = os.listdir("/proc/self/fd")
    _fetch(stream_fd, "file", "folder", "pipe")
    assert os.listdir("/proc/self/fd") == open_before


def test_a_file_without_room_is_left_out_and_a_smaller_one_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stream_fd: int
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("large").write_bytes(bytes(900))
    Path("small").write_bytes(bytes(9))
    with open("sparse", "wb") as file:
        file.truncate(1 << 40)
    assert _fetch(stream_fd, "sparse", "large", "small", largest_bytes=500) == (("small", bytes(9)),)
