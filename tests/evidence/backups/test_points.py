"""Backups made under load, restored as of any moment: what comes of them is what a fresh run makes of the inputs."""

import asyncio
from pathlib import Path

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allotrope.evidence.backups.backup import Wanted, saved
from allotrope.evidence.backups.manifest import Backup, backups_in
from allotrope.evidence.backups.restore import Until, restored
from allotrope.kernel.errors import Refused
from tests.evidence.backups.shop import feed, finished, left, numbers, opened

INPUTS = 400


def silent(what: str, done: int, total: int) -> None:
    pass


class Taken:
    """A folder of backups of one app, made while it was busy, and what is left of the whole run."""

    def __init__(self, place: Path) -> None:
        self.place, self.target, self.app = place, place / "backups", place / "app"
        asyncio.run(self._run())
        self.backups: list[Backup] = backups_in(self.target)
        self.last = self.backups[-1].manifest
        self._fresh: dict[int, object] = {}
        self._count = 0

    async def _run(self) -> None:
        host = opened(self.app)
        await host.start()
        feeding = asyncio.create_task(feed(host, 0, INPUTS))
        for since in ("", "last", "last", "", "last"):
            while len(numbers(self.app)) < INPUTS / 6 * (1 + self._made()):
                assert not feeding.done() or not feeding.exception()
                await asyncio.sleep(0.005)
            await asyncio.to_thread(saved, self.app, self.target, Wanted(since), silent)
        await feeding
        await host.drain()

    def _made(self) -> int:
        return len(list(self.target.glob("2*"))) if self.target.exists() else 0

    def restore(self, until: Until, source: Path | None = None) -> tuple[Path, int]:
        """Return a folder that was restored, run to its end, and the origin that it was restored up to."""
        self._count += 1
        folder = self.place / f"restored-{self._count}"
        done = restored(source or self.target, folder, until, silent)
        asyncio.run(finished(folder))
        return folder, done.origin

    def fresh(self, origin: int) -> object:
        """Return what a fresh app makes of the inputs up to an origin."""
        if origin not in self._fresh:
            folder = self.place / f"fresh-{origin}"
            asyncio.run(finished(folder, origins=numbers(self.app)[:origin]))
            self._fresh[origin] = left(folder)
        return self._fresh[origin]


@pytest.fixture(scope="module")
def taken(tmp_path_factory: pytest.TempPathFactory) -> Taken:
    return Taken(tmp_path_factory.mktemp("points"))


def test_each_backup_under_load_is_what_its_inputs_make(taken: Taken) -> None:
    assert [bool(backup.manifest.since) for backup in taken.backups] == [False, True, True, False, True]
    for backup in taken.backups:
        folder, origin = taken.restore(Until(), backup.folder)
        assert origin == backup.manifest.origin
        assert left(folder) == taken.fresh(origin)


@settings(max_examples=8)
@given(share=st.floats(0, 1))
def test_any_position_is_what_a_fresh_run_makes_of_the_inputs_up_to_it(taken: Taken, share: float) -> None:
    position = round(share * taken.last.position)
    folder, origin = taken.restore(Until(position=position))
    log = apsw.Connection(str(taken.app / "log.db"), flags=apsw.SQLITE_OPEN_READONLY)
    sql = "SELECT coalesce(max(origin),0) FROM entries WHERE path='' AND position<=?"
    assert log.execute(sql, (position,)).fetchall() == [(origin,)]
    log.close()
    assert left(folder) == taken.fresh(origin)


def test_a_time_leaves_out_what_was_accepted_later(taken: Taken) -> None:
    moment = taken.backups[2].manifest.at
    _, origin = taken.restore(Until(time=moment))
    assert origin == taken.backups[2].manifest.origin


def test_a_restored_app_goes_on_and_its_backups_go_on_from_there(taken: Taken) -> None:
    """The folder of backups then holds two histories; the newest one is meant."""
    folder, origin = taken.restore(Until(position=taken.backups[1].manifest.position))
    with pytest.raises(Refused, match="of another log"):
        saved(folder, taken.place / "backups", Wanted("last"), silent)
    asyncio.run(finished(folder, 1000, 1100))
    whole = left(folder)
    made = saved(folder, taken.place / "other", Wanted(), silent).backup
    assert made.manifest.origin == origin + 100
    again, _ = taken.restore(Until(), taken.place / "other")
    assert left(again) == whole
