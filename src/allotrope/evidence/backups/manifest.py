"""Manifests: what one backup holds, of which app, up to where; and which backups lie in a folder.

A backup is a folder named by its time. One that has no manifest was never finished.
"""

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from allotrope.kernel.errors import Corrupted, Refused

FILE = "backup.json"
_FORMAT = 1


class File(msgspec.Struct, frozen=True):
    """One file of a backup."""

    name: str
    bytes: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """One backup. `position`, `origin` and `seal` are of the last entry of the log, 0 without one."""

    format: int = _FORMAT
    name: str
    app: str
    made: str
    since: str = ""  # the backup that holds the log up to `first`; "" when this one has all of it
    since_sha256: str = ""  # of its manifest
    first: int = 1
    position: int
    origin: int
    at: int  # microseconds since 1970 at which the last input was accepted
    seal: int
    versions: dict[str, str]
    files: tuple[File, ...]
    secrets: tuple[str, ...] = ()  # files that were left out unless somebody asked for them

    @property
    def when(self) -> str:
        """Return when its last input was accepted, in words."""
        return shown(self.at) if self.at else "before the first input"


class Backup(msgspec.Struct, frozen=True):
    """A finished backup in its folder."""

    folder: Path
    manifest: Manifest
    sha256: str  # of the manifest


def shown(moment: int) -> str:
    """Return a time in microseconds since 1970 as text."""
    return datetime.fromtimestamp(moment / 1e6, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def read(folder: Path) -> Backup:
    """Return a backup. Refused when there is none, or it is of another format."""
    path = folder / FILE
    try:
        data = path.read_bytes()
        manifest = msgspec.json.decode(data, type=Manifest)
    except FileNotFoundError:
        raise Refused(f"{folder}: no backup, since it has no {FILE}") from None
    except (OSError, msgspec.MsgspecError) as error:
        raise Corrupted(f"{path}: cannot be read: {error}; take another backup") from None
    if manifest.format != _FORMAT:
        raise Refused(f"{path}: has format {manifest.format}, not {_FORMAT}; use the allotrope that wrote it")
    return Backup(folder, manifest, hashlib.sha256(data).hexdigest())


def backups_in(target: Path) -> list[Backup]:
    """Return the finished backups in a folder, the oldest first."""
    return [read(path.parent) for path in sorted(target.glob(f"*/{FILE}")) if path.parent.name[0] != "."]


def chain(backup: Backup) -> list[Backup]:
    """Return the backups that hold the log of one, from the one with its beginning on. Refused when one is missing."""
    found = [backup]
    while before := found[0].manifest.since:
        older = read(found[0].folder.with_name(before))
        if older.sha256 != found[0].manifest.since_sha256:
            raise Corrupted(
                f"{older.folder / FILE}: is not the one that {found[0].manifest.name} was made after"
            )
        found.insert(0, older)
    return found


def listed(folder: Path) -> tuple[File, ...]:
    """Return the files below a folder with their hashes."""
    return tuple(_files(folder))


def _files(folder: Path) -> Iterator[File]:
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        yield File(path.relative_to(folder).as_posix(), path.stat().st_size, digest(path))


def digest(path: Path) -> str:
    """Return the hash of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check(backup: Backup) -> None:
    """Raise Corrupted when a file of a backup is not what was written."""
    for file in backup.manifest.files:
        path = backup.folder / file.name
        if not path.is_file():
            raise Corrupted(f"{path}: missing; take another backup")
        if path.stat().st_size != file.bytes or digest(path) != file.sha256:
            raise Corrupted(f"{path}: is not what was written, its hash differs; take another backup")
