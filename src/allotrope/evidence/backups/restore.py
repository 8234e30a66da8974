"""Restore: makes the folder of an app from backups, as of the newest moment that they hold or of an earlier one.

Of an earlier one: what the newest backup not after it holds, and behind that the inputs that came until then, which the
next start runs. Events that operations had published since are left out: they come again, of the same inputs. Not here:
running the app.
"""

import asyncio
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import apsw

from allotrope.evidence.backups.backup import SECRETS, SINCE
from allotrope.evidence.backups.cuts import LOG, Told, copied, cut, rows
from allotrope.evidence.backups.entries import Missed, facts_of, gone_from, sound
from allotrope.evidence.backups.manifest import FILE, Backup, backups_in, chain, check, read
from allotrope.evidence.backups.segments import joined
from allotrope.evidence.backups.verify import verified
from allotrope.kernel.errors import Corrupted, Refused
from allotrope.logs.sqlite import SqliteLog
from allotrope.runtime.intake.entries import VERSION
from allotrope.storage.files import synced
from allotrope.storage.folders import own
from allotrope.storage.locks import holder
from allotrope.storage.ports import Envelope

_STEP = 1000
_BESIDE = ("homes.json", *SECRETS)


class Until(NamedTuple):
    """How far to go: up to a position, or to all that was accepted until a time; -1 for all there is."""

    position: int = -1
    time: int = -1  # microseconds since 1970


class Restored(NamedTuple):
    """What was restored from which backup, None from the inputs alone, and what the backups hold behind it."""

    cover: Backup
    snapshot: Backup | None
    position: int  # in the log that was backed up
    origin: int
    at: int
    inputs: int  # that the next start runs
    left_out: int  # inputs
    kept: Path | None  # where the folder is that was there before


def restored(source: Path, folder: Path, until: Until, told: Told, *, force: bool = False) -> Restored:
    """Make a folder and return what is in it. Refused when it is in use or not empty, Corrupted when a backup is."""
    there = folder.exists() and any(folder.iterdir())
    _free(folder, force=force)
    cover, known = _cover(source, until)
    own(folder.absolute().parent)
    part = folder.absolute().with_name(f".{folder.absolute().name}.restoring")
    shutil.rmtree(part, ignore_errors=True)
    try:
        done = _made(part, cover, known, until, told)
        with cut(part) as files:
            verdict = verified(files, told)
        if not verdict.sound:
            damage = verdict.damages[0]
            raise Corrupted(
                f"what was restored is damaged: {damage.where}: {damage.what}; take another backup"
            )
        synced(part)
        _free(folder, force=force)
        old = folder.absolute().with_name(f"{folder.name}.before-{datetime.now(UTC):%Y%m%dT%H%M%S%fZ}")
        if there:
            folder.rename(old)
        elif folder.exists():
            folder.rmdir()
        part.rename(folder)
        synced(folder)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    return done._replace(kept=old if there else None)


def _free(folder: Path, *, force: bool) -> None:
    for lock in (*folder.glob("*.lock"), *folder.glob("*/*.lock")):
        if pid := holder(lock):
            raise Refused(f"{folder}: in use by process {pid}; stop that, or name another folder")
    if not force and folder.exists() and any(folder.iterdir()):
        raise Refused(
            f"{folder}: is not empty; --force keeps what is there beside it, or name another folder"
        )


def _cover(source: Path, until: Until) -> tuple[Backup, list[Backup]]:
    """Return the newest backup that goes as far, and all that are beside it."""
    if (source / FILE).exists():
        cover, known = read(source), backups_in(source.absolute().parent)
        found = [cover]
    else:
        found = known = backups_in(source)
    if not found:
        raise Refused(f"{source}: there is no backup; `allotrope backup` makes one")
    reach = [backup for backup in found if backup.manifest.position >= until.position]
    if not reach:
        most = max(backup.manifest.position for backup in found)
        raise Refused(f"{source}: goes up to position {most:,}, and {until.position:,} is asked for")
    return reach[-1], known


def _made(part: Path, cover: Backup, known: list[Backup], until: Until, told: Told) -> Restored:
    links = chain(cover)
    for number, link in enumerate(links):
        told("hashes", number, len(links))
        check(link)
    whole = cover.manifest.position
    position = _position(links, until) if until.time >= 0 else until.position
    position = whole if position < 0 else min(position, whole)
    snapshot = _snapshot(links, known, position)
    own(part)
    for name in _BESIDE:
        if (cover.folder / name).exists():
            shutil.copyfile(cover.folder / name, part / name)
            (part / name).chmod(0o600)
    if snapshot is not None:
        _copied(snapshot, part, told)
    inputs = _adopted(part, links, 0 if snapshot is None else snapshot.manifest.position, position, told)
    origin, at = _newest(part)
    left_out = cover.manifest.origin - origin
    return Restored(cover, snapshot, position, origin, at, inputs, left_out, None)


def _position(links: list[Backup], until: Until) -> int:
    """Return the last position before the first input that was accepted after a time."""
    for position, envelope in _entries(links, 1, links[-1].manifest.position, short=True):
        if not envelope.path and envelope.at > until.time:
            return position - 1
    return -1


def _snapshot(links: list[Backup], known: list[Backup], position: int) -> Backup | None:
    """Return the newest backup not after a position whose log is the beginning of this one."""
    ways = [backup for backup in known if 0 < backup.manifest.position <= position]
    for backup in sorted(ways, key=lambda each: (each.manifest.position, each.manifest.name), reverse=True):
        names = {link.manifest.name for link in links}
        if backup.manifest.name in names or _has(links, backup):
            for link in chain(backup):
                check(link)
            return backup
    return None


def _has(links: list[Backup], backup: Backup) -> bool:
    of = backup.manifest
    if of.app != links[-1].manifest.app:
        return False
    for link in links:
        with copied(link.folder, [_log_of(link)]) as files:
            for log in files.files.values():
                if log.execute("SELECT crc32 FROM entries WHERE position=?", (of.position,)).fetchall() == [
                    (of.seal,)
                ]:
                    return True
    return False


def _copied(snapshot: Backup, part: Path, told: Told) -> None:
    """Copy a backup into the folder, its log joined from the backups that it needs."""
    first, *more = chain(snapshot)
    shutil.copyfile(first.folder / LOG, part / LOG)
    for link in more:
        told("join the log", link.manifest.position, snapshot.manifest.position)
        joined(part / LOG, link.folder / SINCE)
    for file in snapshot.manifest.files:
        if file.name not in (LOG, SINCE, *_BESIDE):
            own((part / file.name).parent)
            shutil.copyfile(snapshot.folder / file.name, part / file.name)
    for path in part.rglob("*.*"):
        path.chmod(0o600)


def _adopted(part: Path, links: list[Backup], behind: int, position: int, told: Told) -> int:
    """Add the inputs between two positions to the log of a folder, and return how many there are."""
    if behind == position and behind:
        return 0
    with copied(links[0].folder, [LOG]) as files:
        assert files.log is not None, "its hash was right"
        partitions = facts_of(files.log)["partitions"]
    log = SqliteLog(part, "process", partitions, links[-1].manifest.app)
    inputs = 0

    async def fill() -> None:
        nonlocal inputs
        some: list[Envelope] = []
        for place, envelope in _entries(links, behind + 1, position):
            if not envelope.path or envelope.path == VERSION:
                some.append(envelope)
                inputs += not envelope.path
            if len(some) == _STEP:
                told("inputs", place - behind, position - behind)
                await log.adopt(some)
                some = []
        await log.adopt(some)

    try:
        asyncio.run(fill())
    finally:
        log.release()
    return inputs


def _entries(
    links: list[Backup], first: int, last: int, *, short: bool = False
) -> Iterator[tuple[int, Envelope]]:
    """Yield the entries between two positions. Refused when some have left the log, unless it may be `short`."""
    for link in links:
        if link.manifest.position < first:
            continue
        start, end = max(first, link.manifest.first), min(last, link.manifest.position)
        with copied(link.folder, [_log_of(link)]) as files:
            for log in files.files.values():
                if not short and any(gone.first <= end and gone.last >= start for gone in gone_from(log)):
                    raise Refused(
                        f"some entries between positions {start} and {end} had left the log when {link.manifest.name} "
                        "was made, and no backup before them has them; restore a later position"
                    )
                for entry, _ in sound(log, start, _damaged(link)):
                    if entry.position > end:
                        break
                    yield entry.position, entry.envelope


def _damaged(link: Backup) -> Missed:
    def missed(first: int, last: int, why: str) -> None:
        raise Corrupted(
            f"{link.folder / _log_of(link)}: positions {first} to {last}: {why}; take another backup"
        )

    return missed


def _log_of(backup: Backup) -> str:
    return SINCE if backup.manifest.since else LOG


def _newest(part: Path) -> tuple[int, int]:
    connection = apsw.Connection(str(part / LOG))
    try:
        sql = "SELECT origin,at FROM entries WHERE path='' ORDER BY position DESC LIMIT 1"
        found = rows(connection, sql)
    finally:
        connection.close()
    origin, at = found[0] if found else (0, 0)
    return origin, at
