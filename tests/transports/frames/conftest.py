"""What the tests of frames share: both loops, and a folder whose path fits a socket's address."""

import asyncio
import gc
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from allotrope.transports.frames.security import Key


@pytest.fixture
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="al"))
    yield made
    shutil.rmtree(made)


@pytest.fixture
def key(folder: Path) -> Key:
    return Key.create(folder / "key")


@pytest.fixture(params=["asyncio", "uvloop"])
def loops(request: pytest.FixtureRequest) -> Iterator[None]:
    """Run the test on asyncio's own loop, and once more on uvloop's."""
    if request.param == "uvloop":
        uvloop = pytest.importorskip("uvloop")
        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    yield
    asyncio.set_event_loop_policy(None)


@pytest.fixture
def no_leak() -> Iterator[None]:
    """Fail when the test leaves files open or memory with a name."""
    shared = Path("/dev/shm")
    gc.collect()
    before, named = len(os.listdir("/dev/fd")), set(shared.glob("*"))
    yield
    gc.collect()
    assert len(os.listdir("/dev/fd")) <= before
    assert set(shared.glob("*")) <= named
