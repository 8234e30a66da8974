"""API keys: made here, kept as salted hashes in a file that may change while it is used.

A key is 256 random bits, so a fast hash is as good as a slow one: there is nothing to guess. The key itself is shown
once and kept nowhere. Not here: signed tokens (`tokens`).
"""

import hashlib
import secrets
import time
from hmac import compare_digest
from pathlib import Path

import msgspec

from allotrope.gateway.access.callers import Caller
from allotrope.kernel.errors import Refused, nearest
from allotrope.storage.folders import replace

MARK = "alt_"  # what every key begins with, so that a scanner for leaked secrets knows it


class Kept(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the file holds of one key."""

    id: str
    name: str
    tenant: str
    scopes: tuple[str, ...]
    salt: str
    digest: str
    made: str


class Ring(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file."""

    version: int = 1
    keys: tuple[Kept, ...] = ()


class Keys:
    """The keys of one file, and the callers that they stand for."""

    def __init__(self, path: Path) -> None:
        """Read the file; Refused when it is there and cannot be read."""
        self.path = path
        self._seen: tuple[int, int, int] | None = None
        self._kept: dict[str, tuple[bytes, bytes, Caller]] = {}
        self.refresh()

    @property
    def there(self) -> bool:
        """Return whether the file is there, readable or not."""
        return _stamp(self.path) is not None

    def refresh(self) -> None:
        """Read the file again when it has changed. A caller stays the same while its entry does."""
        seen = _stamp(self.path)
        if seen == self._seen:
            return
        ring = read(self.path)
        kept = {}
        for key in ring.keys:
            caller = Caller(key.name, key.tenant, key.scopes)
            before = self._kept.get(key.id)
            if before is not None and _same(before[2], caller):
                caller = before[2]
            kept[key.id] = bytes.fromhex(key.salt), bytes.fromhex(key.digest), caller
        self._kept, self._seen = kept, seen

    def caller(self, key: str) -> Caller | None:
        """Return who holds a key, None when nobody does."""
        ident, _, secret = key.removeprefix(MARK).partition("_")
        found = self._kept.get(ident)
        if found is None:
            return None
        salt, digest, caller = found
        return caller if compare_digest(digest_of(secret, salt), digest) else None

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._kept)


def read(path: Path) -> Ring:
    """Return what a file holds, nothing when it is not there. Refused when it is no file of keys."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Ring)
    except FileNotFoundError:
        return Ring()
    except (OSError, msgspec.DecodeError) as error:
        raise Refused(f"{path}: no file of keys: {error}; make one with `allotrope keys new`") from None


def made(path: Path, name: str, tenant: str, scopes: tuple[str, ...]) -> str:
    """Add a key to the file and return it: the only moment that anybody sees it. Its tenant is its name without one."""
    ring = read(path)
    if any(key.name == name for key in ring.keys):
        raise Refused(f"{path} has a key called `{name}`; revoke it first, or take another name")
    ident, secret, salt = secrets.token_hex(6), secrets.token_urlsafe(32), secrets.token_bytes(16)
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    kept = Kept(ident, name, tenant or name, scopes, salt.hex(), digest_of(secret, salt).hex(), at)
    _write(path, Ring(keys=(*ring.keys, kept)))
    return f"{MARK}{ident}_{secret}"


def revoked(path: Path, name: str) -> Kept:
    """Take a key out of the file, by its name or id, and return what was kept of it."""
    ring = read(path)
    found = next((key for key in ring.keys if name in (key.name, key.id)), None)
    if found is None:
        raise Refused(f"{path} has no key `{name}`. {nearest(name, [key.name for key in ring.keys])}")
    _write(path, Ring(keys=tuple(key for key in ring.keys if key is not found)))
    return found


def digest_of(secret: str, salt: bytes) -> bytes:
    """Return the salted hash of a secret."""
    return hashlib.blake2b(secret.encode(), salt=salt, digest_size=32).digest()


def _write(path: Path, ring: Ring) -> None:
    """Replace the file at once, readable by its owner only: a gateway that reads meanwhile sees one or the other."""
    text = msgspec.json.format(msgspec.json.encode(ring), indent=2) + b"\n"
    try:
        path.parent.mkdir(0o700, parents=True, exist_ok=True)
        replace(path, text)
    except OSError as error:
        raise Refused(f"{path}: cannot be written: {error.strerror}") from None


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _same(one: Caller, other: Caller) -> bool:
    return (one.name, one.tenant, one.scopes) == (other.name, other.tenant, other.scopes)
