"""Backup: a copy of all that an app keeps, as of one instant, made while it serves.

The log is copied whole, or only what has come since an earlier backup. Not here: spans, log lines and request logs,
which say how an app ran and not what it knows.
"""

import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import apsw
import msgspec

from allotrope.evidence.backups.cuts import LOG, Cut, Told, copied, cut, elsewhere, rows
from allotrope.evidence.backups.entries import last_position, owner_of
from allotrope.evidence.backups.manifest import FILE, Backup, Manifest, backups_in, listed, read
from allotrope.evidence.backups.segments import split
from allotrope.evidence.backups.verdicts import Verdict
from allotrope.evidence.backups.verify import Entries, pages, verified
from allotrope.kernel.errors import Corrupted, Refused
from allotrope.storage.files import blank, synced
from allotrope.storage.folders import own, write

LAST = "last"
SINCE = "log-since.db"  # the entries of a log that an earlier backup does not have
SECRETS = ("callers.json", "requests.key", "webhooks.json")
_NOTES = ("sink-*.json", "webhooks/*.json")  # how far others have what is in the log
_BESIDE = ("homes.json", "*.contract.json", "*/*.contract.json")
_PAGES = 1000
_END = "SELECT position,crc32 FROM entries WHERE position=?"
_INPUT = "SELECT origin,at FROM entries WHERE path='' ORDER BY position DESC LIMIT 1"


class Wanted(NamedTuple):
    """What to copy: `since` an earlier backup, by name or `last`; and whether what is secret too."""

    since: str = ""
    secrets: bool = False


class Made(NamedTuple):
    """A backup that was made, and for how long writers waited for it."""

    backup: Backup
    held_ms: float


def saved(folder: Path, target: Path, wanted: Wanted, told: Told) -> Made:
    """Make a backup in `target` and return it, read back. Refused when it cannot be, Corrupted when files are."""
    if away := elsewhere(folder):
        raise Refused(f"{folder}: {'; '.join(away)}; back that up with the tools of that server")
    if target.resolve().is_relative_to(folder.resolve()):
        raise Refused(f"{target}: lies in the app's own folder; name one on another disk")
    before = _before(target, wanted.since) if wanted.since else None
    notes = _found(folder, _NOTES)  # before the cut: what they say was sent is in it
    with cut(folder) as files:
        if files.faults:
            name, fault = next(iter(files.faults.items()))
            raise Corrupted(f"{folder / name}: {fault}; `allotrope events verify` lists all damages")
        if files.log is None:
            raise Refused(f"{folder}: has no {LOG}; `allotrope events verify` says more")
        own(target)
        moment = datetime.now(UTC)
        name = moment.strftime("%Y%m%dT%H%M%S.%fZ")
        part = target / f".{name}"
        own(part)
        try:
            manifest = _written(files, part, before, told)
            secret = _found(folder, SECRETS)
            _put(part, notes | _found(folder, _BESIDE) | (secret if wanted.secrets else {}))
            manifest = msgspec.structs.replace(
                manifest,
                name=name,
                made=moment.isoformat(),
                files=listed(part),
                secrets=() if wanted.secrets else tuple(secret),
            )
            _read_back(part, manifest, told)
            write(part / FILE, msgspec.json.format(msgspec.json.encode(manifest), indent=2))
            synced(part)
            part.rename(target / name)
            synced(target)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise
    return Made(read(target / name), files.held_ms)


def _before(target: Path, since: str) -> Backup:
    found = backups_in(target)
    if not found:
        raise Refused(f"{target}: there is no backup yet; make the first one without --since")
    names = {backup.manifest.name: backup for backup in found}
    if since != LAST and since not in names:
        raise Refused(f"{target}: has no backup `{since}`; there are {', '.join(names)}")
    return found[-1] if since == LAST else names[since]


def _found(folder: Path, names: tuple[str, ...]) -> dict[str, bytes]:
    paths = [path for name in names for path in folder.glob(name) if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def _put(part: Path, found: dict[str, bytes]) -> None:
    for name, data in found.items():
        own((part / name).parent)
        write(part / name, data)


def _written(files: Cut, part: Path, before: Backup | None, told: Told) -> Manifest:
    log = files.log
    assert log is not None, "asked before"
    for name, file in files.files.items():
        if name != LOG or before is None:
            own(part / Path(name).parent)
            _copy(file, part / name, partial(told, f"copy {name}"))
    if before is not None:
        _since(log, part / SINCE, before, told)
    position = last_position(log)
    ((_, seal),) = rows(log, _END, (position,)) or [(0, 0)]
    ((origin, at),) = rows(log, _INPUT) or [(0, 0)]
    return Manifest(
        name="", app=owner_of(log), made="", since=before.manifest.name if before else "",
        since_sha256=before.sha256 if before else "", first=before.manifest.position + 1 if before else 1,
        position=position, origin=origin, at=at, seal=seal,
        versions={"allotrope": version("allotrope"), "sqlite": apsw.sqlite_lib_version()},
        files=(),
    )  # fmt: skip


def _copy(source: apsw.Connection, path: Path, told: Callable[[int, int], None]) -> None:
    target = blank(path)
    try:
        with target.backup("main", source, "main") as copying:
            while not copying.done:
                copying.step(_PAGES)
                told(copying.page_count - copying.remaining, copying.page_count)
    finally:
        target.close()


def _since(log: apsw.Connection, path: Path, before: Backup, told: Told) -> None:
    """Write the entries behind an earlier backup, with all else that a log knows."""
    known, here = before.manifest, owner_of(log)
    found = rows(log, _END, (known.position,))
    if here != known.app or (known.position and (not found or found[0][1] != known.seal)):
        raise Refused(
            f"{before.folder}: is of another log, or its last entry {known.position} has left this one since; make a "
            "backup without --since"
        )
    told("copy new entries", 0, last_position(log) - known.position)
    target = blank(path)
    try:
        split(log, target, known.position)
    finally:
        target.close()


def _read_back(part: Path, manifest: Manifest, told: Told) -> None:
    """Raise Corrupted unless all that was written can be read, and is whole."""
    names = [file.name for file in manifest.files if file.name.endswith(".db")]
    with copied(part, [name for name in names if name != SINCE]) as files:
        if manifest.since:
            verdict = _read_since(part, manifest, told)
            for name, file in files.files.items():
                pages(name, file, verdict)
            for name, fault in files.faults.items():
                verdict.damage(name, "", fault)
        else:
            verdict = verified(files, told)
    if not verdict.sound:
        damage = verdict.damages[0]
        raise Corrupted(
            f"{damage.where}: {damage.what}; no backup was made. `allotrope events verify` lists all"
        )


def _read_since(part: Path, manifest: Manifest, told: Told) -> Verdict:
    verdict = Verdict()
    with copied(part, [SINCE]) as files:
        for fault in files.faults.values():
            verdict.damage(SINCE, "", fault)
        for log in files.files.values():
            pages(SINCE, log, verdict)
            Entries(log, verdict, set()).read(told, manifest.first)
    return verdict
