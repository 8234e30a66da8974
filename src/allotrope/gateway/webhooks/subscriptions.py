"""Subscriptions: who gets which events, and what they are signed with; in a file that may change while it is used.

Not here: how far each has come (`deliveries`).
"""

import re
import secrets
import time
from base64 import b64encode
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from allotrope.gateway.webhooks.reach import check_address
from allotrope.kernel.errors import Refused, nearest
from allotrope.storage.folders import replace

FILE = "webhooks.json"  # in the folder of an app
MARK = "whsec_"  # what every secret begins with
OVERLAP_S = 24 * 3600.0  # for how long an old secret signs beside the new one
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


class Subscription(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One of them. `older` signs as well until `until`, in seconds since 1970."""

    name: str
    url: str
    events: tuple[str, ...]
    secret: str
    made: str
    key: str | None = None
    tenant: str = ""
    private: bool = False  # whether it may be in a network that is not public
    older: str = ""
    until: float = 0.0

    @property
    def place(self) -> str:
        """Return where it is, without what may be secret in it."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}"

    def secrets_at(self, now: float) -> tuple[str, ...]:
        """Return what signs at a time, the newest first."""
        return (self.secret, self.older) if self.older and now < self.until else (self.secret,)


class Book(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file."""

    version: int = 1
    webhooks: tuple[Subscription, ...] = ()

    def named(self, name: str) -> Subscription:
        """Return one of them. Refused when there is none of this name."""
        found = next((one for one in self.webhooks if one.name == name), None)
        if found is None:
            raise Refused(f"no webhook `{name}`. {nearest(name, [one.name for one in self.webhooks])}")
        return found


def read(folder: Path) -> Book:
    """Return what is kept in a folder, nothing when there is no file. Refused when it is no such file."""
    path = folder / FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=Book)
    except FileNotFoundError:
        return Book()
    except (OSError, msgspec.DecodeError) as error:
        raise Refused(f"{path}: no file of webhooks: {error}; mend it, or delete it") from None


def added(folder: Path, wanted: Subscription) -> Subscription:
    """Keep a new one, under a secret of its own. Refused when it cannot be reached, or its name is taken."""
    book = read(folder)
    if any(one.name == wanted.name for one in book.webhooks):
        raise Refused(f"there is a webhook `{wanted.name}`; remove it first, or take another --name")
    if not _NAME.fullmatch(wanted.name):
        raise Refused(f"`{wanted.name}` is no name of a webhook: letters, digits, - and _, at most 64")
    if not wanted.events:
        raise Refused(f"webhook `{wanted.name}` has no event; say --event NAME")
    check_address(wanted.url, private=wanted.private)
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    made = msgspec.structs.replace(wanted, secret=fresh(), made=at)
    _write(folder, Book(webhooks=(*book.webhooks, made)))
    return made


def removed(folder: Path, name: str) -> Subscription:
    """Take one out and return it."""
    book = read(folder)
    found = book.named(name)
    _write(folder, Book(webhooks=tuple(one for one in book.webhooks if one is not found)))
    return found


def rotated(folder: Path, name: str) -> Subscription:
    """Give one a new secret and return it; the old one signs beside it for a day."""
    book = read(folder)
    found = book.named(name)
    made = msgspec.structs.replace(found, secret=fresh(), older=found.secret, until=time.time() + OVERLAP_S)
    _write(folder, Book(webhooks=tuple(made if one is found else one for one in book.webhooks)))
    return made


def fresh() -> str:
    """Return a new secret."""
    return MARK + b64encode(secrets.token_bytes(32)).decode("ascii")


def _write(folder: Path, book: Book) -> None:
    try:
        folder.mkdir(0o700, parents=True, exist_ok=True)
        replace(folder / FILE, msgspec.json.format(msgspec.json.encode(book), indent=2) + b"\n")
    except OSError as error:
        raise Refused(f"{folder / FILE}: cannot be written: {error.strerror}") from None
