"""Files of a call as one stream of bytes: (path length, content length, path, content) after each other.

Packed and opened by the pool on one side, by the call's own processes on the other; it imports nothing of
ours. What a program had a hand in may be garbage, so that opening stops at the first file that does not
hold together.
"""

import os
import stat
import struct
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice

_HEAD = struct.Struct("=IQ")


def packed(files: Iterable[tuple[str, bytes]]) -> bytes:
    """The stream of (path, content) pairs."""
    return b"".join(_packed_file(path.encode("utf-8", "surrogateescape"), data) for path, data in files)


def opened(stream: bytes, most_files: int) -> tuple[tuple[str, bytes], ...]:
    """The first (path, content) pairs of a stream, up to where it is torn."""
    files = islice(_files_in(stream), most_files)
    return tuple((path.decode("utf-8", "surrogateescape"), content) for path, content in files)


def put_files_here(fd: int) -> None:
    """In the program's process: write the files of the stream below the working directory."""
    for path, content in _files_in(read_whole(fd)):
        if folder := os.path.dirname(path):
            os.makedirs(folder, exist_ok=True)
        with open(path, "wb") as file:
            file.write(content)


def fetch_files_here(fd: int, largest_stream_bytes: int) -> None:
    """With the program's rights: append to the stream the files that it names.

    Only regular files, none that would make the stream too long; links lead where they led the program.
    """
    room_bytes = largest_stream_bytes - os.fstat(fd).st_size
    for path, _ in _files_in(read_whole(fd)):
        with suppress(OSError):
            room_bytes -= _append_file(path, fd, room_bytes)


def _append_file(path: bytes, fd: int, room_bytes: int) -> int:
    """Number of bytes appended. Opening must not wait: a named pipe may be there instead of a file."""
    source = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        facts = os.fstat(source)
        size_bytes = _HEAD.size + len(path) + facts.st_size
        if not stat.S_ISREG(facts.st_mode) or size_bytes > room_bytes:
            return 0
        return _write_whole(fd, _packed_file(path, os.pread(source, facts.st_size, 0)))
    finally:
        os.close(source)


def _packed_file(path: bytes, content: bytes) -> bytes:
    return _HEAD.pack(len(path), len(content)) + path + content


def _files_in(stream: bytes) -> Iterator[tuple[bytes, bytes]]:
    start = 0
    while start + _HEAD.size <= len(stream):
        path_bytes, content_bytes = _HEAD.unpack_from(stream, start)
        content_start = start + _HEAD.size + path_bytes
        start = content_start + content_bytes
        if start > len(stream):
            return
        yield stream[content_start - path_bytes : content_start], stream[content_start:start]


def read_whole(fd: int) -> bytes:
    """From its start, wherever its position is."""
    return os.pread(fd, os.fstat(fd).st_size, 0)


def _write_whole(fd: int, content: bytes) -> int:
    with open(fd, "ab", closefd=False) as file:
        return file.write(content)
