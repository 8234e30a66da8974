"""The nursery: whatever becomes of it, who asked for a process gets one or learns soon that it will not."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from allotrope.engines.processes import nursery as nurseries
from allotrope.engines.processes.member import LAST_BYTES, last_words
from allotrope.engines.processes.nursery import Forked, Nursery, turn_over
from tests.engines.processes.shift import gone, met

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="nothing is forked elsewhere")

APP = """
import os, signal, sys, time
from pathlib import Path
from allotrope.engines.processes.nursery import nurse
print("an app may say what it likes", flush=True)
place = Path(sys.argv[1])
(place / "parent").write_text(str(os.getpid()))
(place / "begun").touch()
while (place / "stuck").exists():
    time.sleep(0.01)
def replica(given):
    (place / given[1]).write_text(str(os.getpid()))
    signal.pause()
nurse(replica)
"""


class Nest:
    """A nursery and its folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.log = folder, folder / "nursery.log"
        self.nursery = Nursery((sys.executable, "-c", APP, str(folder)), self.log)

    async def fork(self, name: str = "name", release: int = 0) -> Forked | None:
        async with asyncio.timeout(30):
            return await self.nursery.fork(
                ("unit", name), {}, self.folder / "unit.log", release or self.nursery.newest
            )

    async def forked(self, name: str = "name") -> Forked:
        child = await self.fork(name)
        assert child is not None
        return child

    def stuck(self) -> None:
        """From now on the import of the app does not end."""
        (self.folder / "begun").unlink(missing_ok=True)
        (self.folder / "stuck").touch()

    async def begun(self) -> int:
        """Return the process that imports the app."""
        await met((self.folder / "begun").exists)
        return self.parent

    @property
    def parent(self) -> int:
        return int((self.folder / "parent").read_text())

    def children(self) -> list[int]:
        return [
            int(pid) for pid in Path(f"/proc/{self.parent}/task/{self.parent}/children").read_text().split()
        ]


@contextlib.asynccontextmanager
async def nested(folder: Path) -> AsyncIterator[Nest]:
    """A nursery; whatever happens, nothing of it is left."""
    found = Nest(folder)
    try:
        yield found
    finally:
        await found.nursery.close()
    assert gone(found.parent)


async def test_one_that_was_killed_while_idle_leaves_no_answer_behind(tmp_path: Path) -> None:
    async with nested(tmp_path) as nest:
        first = await nest.forked()
        os.kill(nest.parent, signal.SIGKILL)
        assert await first.wait() == -signal.SIGKILL
        later = [await nest.forked() for _ in range(3)]
        assert nest.children() == [child.pid for child in later]  # each is known to who asked for it


async def test_an_import_that_hangs_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with nested(tmp_path) as nest:
        monkeypatch.setattr(nurseries, "FORK_S", 1.5)
        nest.stuck()
        assert await nest.fork() is None
        assert "units are started without it" in caplog.text
        await met(lambda: gone(nest.parent))
        assert not nest.nursery.fit(nest.nursery.newest)
        (nest.folder / "stuck").unlink()
        nest.nursery.renew()
        assert await nest.forked()


async def test_a_child_that_comes_too_late_is_killed_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with nested(tmp_path) as nest:
        first = await nest.forked()
        monkeypatch.setattr(nurseries, "FORK_S", 0.2)
        os.kill(nest.parent, signal.SIGSTOP)
        assert await nest.fork() is None
        os.kill(nest.parent, signal.SIGCONT)
        first.send_signal(signal.SIGTERM)
        assert await first.wait() == -signal.SIGTERM  # so the nursery was not ended with it
        await met(lambda: gone(nest.parent))  # it stays for as long as there are children


async def test_a_renewal_while_one_is_waited_for_keeps_nobody_waiting(tmp_path: Path) -> None:
    async with nested(tmp_path) as nest:
        nest.stuck()
        waiting = asyncio.ensure_future(nest.fork())
        old = await nest.begun()
        (nest.folder / "stuck").unlink()
        os.kill(old, signal.SIGSTOP)
        nest.nursery.renew()
        os.kill(old, signal.SIGKILL)
        assert await waiting is None
        assert nest.nursery.fit(nest.nursery.newest)  # the end of the former one says nothing of the next
        assert await nest.forked()
        assert nest.parent != old


async def test_an_older_release_is_forked_for_as_long_as_it_is_kept(tmp_path: Path) -> None:
    async with nested(tmp_path) as nest:
        await nest.forked()
        old = nest.parent
        newer = nest.nursery.renew()
        first = await nest.fork("again", 1)
        assert first is not None
        assert nest.parent == old
        await nest.forked("newer")
        assert nest.parent != old
        second = await nest.fork("beside", 1)  # both are there
        assert second is not None
        nest.nursery.keep({newer})
        assert await nest.fork("late", 1) is None
        assert not gone(old)  # it stays for those that it has forked
        for child in (first, second):
            child.send_signal(signal.SIGKILL)
        await nest.forked("newest")


async def test_the_code_of_a_release_is_gone_with_its_process(tmp_path: Path) -> None:
    async with nested(tmp_path) as nest:
        child = await nest.forked()
        nest.nursery.renew()
        os.kill(nest.parent, signal.SIGKILL)
        await child.wait()
        assert await nest.fork("old", 1) is None
        assert not nest.nursery.fit(1)
        assert await nest.forked("new")


async def test_who_lets_go_of_an_order_leaves_no_child_behind(tmp_path: Path) -> None:
    async with nested(tmp_path) as nest:
        nest.stuck()
        waiting = asyncio.ensure_future(nest.fork())
        await nest.begun()
        waiting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await waiting
        (nest.folder / "stuck").unlink()
        child = await nest.forked("next")
        await met(lambda: nest.children() == [child.pid])
        await met(lambda: (tmp_path / "next").exists() and (tmp_path / "next").read_text() == str(child.pid))


# -- what they write


def test_last_words_are_at_the_end_of_a_file_however_long(tmp_path: Path) -> None:
    log = tmp_path / "unit.log"
    assert "it said nothing" in last_words(log)
    log.write_text("the drawer is stuck\n  in its frame\n")
    assert last_words(log) == "the drawer is stuck"
    with log.open("r+b") as file:  # of which only the end is read
        file.truncate(1 << 40)
        file.seek(0, os.SEEK_END)
        file.write("ü".encode() * LAST_BYTES + b"\nthe lock as well\n")
    assert last_words(log) == "the lock as well"


def test_a_log_that_is_too_large_is_put_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nurseries, "LOG_BYTES", 10)
    log, aside = tmp_path / "unit.log", tmp_path / "unit.log.1"
    turn_over(log)
    log.write_text("little")
    turn_over(log)
    assert not aside.exists()
    for text in ("a first line\n", "a second line\n"):
        log.write_text(text)
        turn_over(log)
        assert not log.exists()
        assert aside.read_text() == text
