"""Memory is moved without anybody noticing."""

import itertools
import json
import platform
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rstar2.sandbox.consolidate import spans
from rstar2.sandbox.mappings import Mapping
from rstar2.sandbox.pages import HUGE_PAGE_BYTES

_PAGE_BYTES = 4096

_RECORDED = """
import gc, json, os, random
import numpy, sympy
from rstar2.sandbox import consolidate, kernel
from rstar2.sandbox.mappings import own_mappings

def inside(span):
    first, last = span[0].start, span[-1].end
    return [area for area in own_mappings() if area.end > first and area.start < last]

def stayed(span):
    return any(area.name for area in inside(span))

given, find_space = [], consolidate._huge_copy_space
def record(start, size_bytes):
    given.append(find_space(start, size_bytes))
    return given[-1]
consolidate._huge_copy_space = record

x = sympy.Symbol("x")
"""
"""Remembers how often the kernel had no huge pages to give: what it has them for must move."""

_STILL_WORKS = """
spans = consolidate.spans(own_mappings(), fixed=-1)
moved_bytes = consolidate.consolidate()
for _ in range(3):  # in a child too
    child = kernel.fork()
    assert numpy.allclose(numpy.linalg.solve(numpy.eye(50) * 2, numpy.ones(50)), 0.5)
    assert sympy.solve(x**2 - 7 * x + 10, x) == [2, 5]
    assert sorted(random.sample(range(1000), 1000)) == list(range(1000))
    import sqlite3, decimal, xml.etree.ElementTree  # libraries that were not there yet
    assert sqlite3.connect(":memory:").execute("select 6 * 7").fetchone() == (42,)
    gc.collect()
    if child == 0:
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
num_stayed = sum(map(stayed, spans))
moved = [(len(span), len(inside(span))) for span in spans if not stayed(span)]
print(json.dumps([moved, num_stayed, given.count(None), moved_bytes]))
"""

_ALL_STILL_WORK = """
for seed in range(60):
    if kernel.fork() == 0:
        random.seed(seed)
        kept = [[number, str(number)] for number in range(random.randrange(20_000))]
        del kept[:: random.choice([2, 10**6])]
        spans = consolidate.spans(own_mappings(), fixed=-1)
        consolidate.consolidate()
        assert sum(map(stayed, spans)) <= given.count(None)
        assert sympy.solve(x**2 - 7 * x + 10, x) == [2, 5]
        os._exit(0)
    ended = os.wait()[1]
    assert ended == 0, f"{seed}: {ended}"
"""
"""Each child's objects lie otherwise, so that some are about to have more memory mapped, or less."""

_MOVABLE = [("r-xp", "/usr/lib/libc.so.6"), ("rw-p", ""), ("---p", ""), ("r--p", "/usr/bin/python3")]
_KINDS = [*_MOVABLE, ("rw-p", "[heap]"), ("rw-s", "/dev/shm/x"), ("r-xp", "[vdso]")]


@st.composite
def _memory_maps(draw: st.DrawFn) -> list[Mapping]:
    areas, position = [], 1 << 30
    for gap, length, kind in draw(
        st.lists(
            st.tuples(st.integers(0, 200), st.integers(1, 1500), st.sampled_from(_KINDS)),
            max_size=30,
        )
    ):
        start = position + gap * _PAGE_BYTES
        position = start + length * _PAGE_BYTES
        areas.append(Mapping(start, position, *kind))
    return areas


@given(_memory_maps(), st.integers(0, 1 << 31))
def test_only_neighbours_that_may_move_are_moved_together(areas: list[Mapping], fixed: int) -> None:
    moved = spans(areas, fixed=fixed)
    flat = [area for span in moved for area in span]
    assert flat == [area for area in areas if area in flat]
    assert all(
        (area.permissions, area.name) in _MOVABLE and not area.start <= fixed < area.end for area in flat
    )
    for span in moved:
        assert span[-1].end - span[0].start >= HUGE_PAGE_BYTES
        inside = [area for area in areas if span[0].start <= area.start < span[-1].end]
        assert inside == span, "a span must not cover what stays"
        assert all(b.start - a.end <= 512 << 10 for a, b in itertools.pairwise(span))


def test_neighbours_are_covered_with_their_small_gaps_and_split_at_large_ones() -> None:
    huge = HUGE_PAGE_BYTES
    first, second = Mapping(0, huge, "r-xp"), Mapping(huge + 524288, 2 * huge, "rw-p")
    third = Mapping(2 * huge + 524288 + 4096, 4 * huge, "r--p")
    assert spans([first, second, third], fixed=-1) == [[first, second], [third]]
    assert spans([first, second, third], fixed=huge + 524288) == [[first], [third]]


def _output_of(script: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", _RECORDED + script], capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.integration
@pytest.mark.skipif(platform.machine() != "x86_64", reason="memory is moved on x86-64 only")
def test_an_interpreter_whose_memory_was_moved_works_on_and_has_few_mappings() -> None:
    moved, num_stayed, num_refused, moved_bytes = json.loads(_output_of(_STILL_WORKS))
    assert num_stayed <= num_refused, "what the kernel has huge pages for is moved"
    assert bool(moved) == bool(moved_bytes)
    assert all(after <= max(2, before / 10) for before, after in moved)


def test_where_no_memory_may_be_both_written_and_executed_nothing_is_moved() -> None:
    """As under systemd's MemoryDenyWriteExecute; 65 is PR_SET_MDWE, which kernels before 6.3 do not know."""
    script = (
        "import ctypes\nfrom rstar2.sandbox import consolidate\n"
        "print(ctypes.CDLL(None).prctl(65, 1, 0, 0, 0), consolidate.consolidate())"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=20, check=True
    )
    is_refused, moved_bytes = map(int, done.stdout.split())
    if is_refused != 0:
        pytest.skip("the kernel cannot forbid such memory")
    assert moved_bytes == 0


@pytest.mark.integration
@pytest.mark.skipif(platform.machine() != "x86_64", reason="memory is moved on x86-64 only")
def test_memory_that_comes_or_goes_during_the_move_is_not_lost_and_does_not_hinder_it() -> None:
    _output_of(_ALL_STILL_WORK)
