"""Shared memory: given out, read in place, and given back when the last view of it is gone."""

import gc
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allotrope.transports.frames.shared import BLOCK, Arena, Window, opened
from allotrope.transports.frames.wire import Malformed


@pytest.fixture(params=["memfd", "file"])
def memory(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Return the descriptor of 8 blocks, made in each of the two ways."""
    if request.param == "file":
        monkeypatch.delattr(os, "memfd_create", raising=False)
    return opened(8 * BLOCK)


def test_a_view_is_what_was_put_and_outlives_its_parents(memory: int) -> None:
    arena, window = Arena(memory), Window(memory)
    os.close(memory)
    block = arena.put(memoryview(b"abcdef" * 20_000))
    woken: list[int] = []
    window.wake = lambda: woken.append(1)
    view = window.view(block, 120_000)
    assert bytes(view) == b"abcdef" * 20_000
    assert view.readonly
    part = view[6:12].cast("H")
    del view
    assert window.over() == []
    del part
    gc.collect()
    assert woken == [1]
    assert window.over() == [block]
    arena.release(block)
    assert (arena.taken, window.lent) == (0, 0)


def test_the_last_view_may_end_in_another_thread() -> None:
    memory = opened(BLOCK)
    window = Window(memory)
    os.close(memory)
    views = [window.view(0, 100)]
    threading.Thread(target=views.clear).start()
    while not (over := window.over()):
        pass
    assert over == [0]


def test_a_full_arena_says_so_and_a_release_makes_room() -> None:
    memory = opened(2 * BLOCK)
    arena = Arena(memory)
    os.close(memory)
    first = arena.put(memoryview(bytes(BLOCK + 1)))
    assert arena.put(memoryview(b"x")) == -1
    arena.release(first)
    assert arena.put(memoryview(b"x")) == first


def test_what_was_not_lent_cannot_be_given_back_or_seen() -> None:
    memory = opened(2 * BLOCK)
    arena, window = Arena(memory), Window(memory)
    os.close(memory)
    for block in (0, 1, 9):
        with pytest.raises(Malformed, match="not lent"):
            arena.release(block)
    for block, size in ((0, 2 * BLOCK + 1), (2, 1), (1, BLOCK + 1), (0, 0), (-1, 5), (1 << 40, 1)):
        with pytest.raises(Malformed, match="shared memory"):
            window.view(block, size)
    held = window.view(0, 10)
    with pytest.raises(Malformed):
        window.view(0, 10)
    del held


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="seals are memfd's")
def test_memory_that_could_be_cut_short_is_refused() -> None:
    loose = os.memfd_create("loose")
    os.ftruncate(loose, 4 * BLOCK)
    with pytest.raises(Malformed, match="cut short"):
        Window(loose)
    os.ftruncate(loose, 10)
    with pytest.raises(Malformed, match="10 bytes"):
        Window(loose)
    os.close(loose)


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(0, 20)), max_size=60))
def test_no_two_lent_blocks_overlap_and_all_come_back(steps: list[tuple[int, int]]) -> None:
    memory = opened(8 * BLOCK)
    arena = Arena(memory)
    os.close(memory)
    held: dict[int, int] = {}
    for size, give in steps:
        if held and give < 10:
            block = sorted(held)[give % len(held)]
            arena.release(block)
            del held[block]
        block = arena.put(memoryview(bytes(size * BLOCK)))
        if block >= 0:
            held[block] = size
        cells = [cell for first, count in held.items() for cell in range(first, first + count)]
        assert len(cells) == len(set(cells))
        assert all(cell < 8 for cell in cells)
    for block in held:
        arena.release(block)
    assert arena.put(memoryview(bytes(8 * BLOCK))) == 0


def test_nothing_is_left_of_a_process_that_was_killed() -> None:
    shared = Path("/dev/shm")
    named = set(shared.glob("*"))
    code = (
        "import os, signal\nfrom allotrope.transports.frames.shared import Arena, opened\n"
        "arena = Arena(opened(1 << 20))\narena.put(memoryview(bytes(100000)))\nos.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code], check=False)
    assert set(shared.glob("*")) <= named
