"""Who is at the other end: a key that both share, or certificates of one authority. There is no link without one.

A key proves itself by challenge: both sides sign what was said so far, with fresh numbers from both, so that nothing
overheard is worth anything later. It hides no traffic: on TCP it is for the loopback address only. Keys and
certificates are read again when their files change; links that are open stay open. It grants no rights.
"""

import hashlib
import hmac
import os
import secrets
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from allotrope.kernel.errors import Refused
from allotrope.transports.frames import sockets, wire
from allotrope.transports.frames.addresses import Tcp, Unix
from allotrope.transports.frames.limits import Limits
from allotrope.transports.frames.shared import BLOCK, Arena, Window, opened

KEY_BYTES = 32
MAGIC = b"ALTF"
GREETING = struct.Struct("<4sBB32s8s")  # magic, version, whether memory comes along, number, name of the key
ANSWER = struct.Struct("<B32s200s")  # whether refused, number or proof, why
PROOF = struct.Struct("<32s")
_Seen = tuple[tuple[int, int, int], ...]  # what tells that a file has changed


def _seen(*paths: Path) -> _Seen:
    found = [os.stat(path) for path in paths]
    return tuple((each.st_mtime_ns, each.st_size, each.st_ino) for each in found)


class Key:
    """A file of shared keys, one a line in hexadecimal, for its owner only. The first is used, all are accepted.

    To change the key without a gap: add the new one as a second line on all sides, move it to the first, drop the old.
    """

    def __init__(self, path: Path | str) -> None:
        """Read the file; Refused when it holds no key or others may read it."""
        self.path = Path(path)
        self._seen: _Seen = ()
        self._keys: dict[bytes, bytes] = {}
        self.keys()

    @staticmethod
    def create(path: Path | str) -> "Key":
        """Write a new key to a file that does not exist yet, and return it."""
        made = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(made, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(KEY_BYTES) + "\n")
        return Key(path)

    def keys(self) -> dict[bytes, bytes]:
        """Return the keys by name, as the file is now; the name of a key gives nothing of it away."""
        try:
            seen = _seen(self.path)
            if seen != self._seen:
                if os.stat(self.path).st_mode & 0o077:
                    raise Refused(
                        f"{self.path}: others may read this key; `chmod 600` it, and make a new one"
                    )
                lines = self.path.read_text("ascii").split()
                keys = [bytes.fromhex(line) for line in lines]
                if not keys or min(map(len, keys)) < KEY_BYTES:
                    raise ValueError
                self._keys = {hashlib.sha256(b"name" + key).digest()[:8]: key for key in keys}
                self._seen = seen
        except OSError as error:
            raise Refused(
                f"{self.path}: {error.strerror}; it must hold the key shared by all units"
            ) from None
        except ValueError:
            raise Refused(
                f"{self.path}: each line must be a key of at least {KEY_BYTES} bytes in hexadecimal"
            ) from None
        return self._keys


@dataclass(frozen=True, slots=True)
class Proven:
    """What a greeting has shown: who the peer is, and its shared memory, -1 without any."""

    peer: str
    memory: int


class Certificates:
    """A certificate, its key, and the authority that both sides trust, as PEM files. TLS 1.3, both sides show one."""

    def __init__(self, chain: Path | str, key: Path | str, authority: Path | str, name: str = "") -> None:
        """Read the files; Refused when they do not fit. A client expects `name` of the server, or its host."""
        self.chain, self.key, self.authority, self.name = Path(chain), Path(key), Path(authority), name
        self._contexts: dict[bool, tuple[_Seen, ssl.SSLContext]] = {}
        self.stale = ""  # why the newest files are not in use
        self.context(server=False)

    def context(self, *, server: bool) -> ssl.SSLContext:
        """Return the settings by the files as they are now; the last good ones while they do not fit together."""
        last = self._contexts.get(server)
        try:
            seen = _seen(self.chain, self.key, self.authority)
            if last is not None and last[0] == seen:
                return last[1]
            made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
            made.minimum_version = ssl.TLSVersion.TLSv1_3
            made.verify_mode = ssl.CERT_REQUIRED
            made.load_verify_locations(self.authority)
            made.load_cert_chain(self.chain, self.key, password=_no_password)
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            self.stale = (
                f"{self.chain}, {self.key}, {self.authority}: {error}; they must be PEM files, the key that of "
                "the certificate and without a password"
            )
            if last is None:
                raise Refused(self.stale) from None
            return last[1]
        self._contexts[server], self.stale = (seen, made), ""
        return made


def _no_password() -> str:
    raise ValueError("the key asks for a password")  # OpenSSL would ask on the terminal, and wait


Credentials = Key | Certificates


def fitting(place: Unix | Tcp, credentials: Credentials) -> None:
    """Return in peace when the credentials protect a link at this address; Refused otherwise."""
    if isinstance(credentials, Key):
        if isinstance(place, Tcp) and not place.local:
            raise Refused(
                f"{place}: a shared key does not hide what is sent; give certificates, or use tcp://127.0.0.1"
            )
    elif isinstance(place, Unix):
        raise Refused(f"{place}: certificates are for tcp; give a key")


async def introduced(
    made: socket.socket, key: Key, limits: Limits, way: Callable[[socket.socket, Key, int], Awaitable[Proven]]
) -> tuple[str, Arena | None, Window | None]:
    """Return who the peer is, our memory and a window on the peer's, after `greet` or `meet`.

    Memory is shared over unix sockets only: an open file can be handed over nothing else.
    """
    ours = opened(limits.arena_bytes) if made.family == socket.AF_UNIX and limits.arena_bytes >= BLOCK else -1
    proven = None
    try:
        proven = await way(made, key, ours)
        window = Window(proven.memory) if proven.memory >= 0 else None
        return proven.peer, Arena(ours) if ours >= 0 else None, window
    finally:
        for memory in (ours, proven.memory if proven else -1):
            if memory >= 0:
                os.close(memory)


# What both sides say, in turn. The client: magic, version, a fresh number, the name of its key. The server: a fresh
# number. The client: its proof. The server: its proof. A proof signs all that was said before it and who says it, so
# that it fits no other connection, and cannot be sent back to who made it. The client shows its proof first: a server
# that shows its own to anybody would let them guess at a weak key.


def _signed(key: bytes, role: bytes, said: bytes) -> bytes:
    return hmac.digest(key, b"allotrope frames " + role + said, "sha256")


def _checked_user(made: socket.socket) -> str:
    """Return a name for the peer; Refused when another user runs it: the key may be right, and stolen."""
    if made.family != socket.AF_UNIX:
        return "key"
    user, process = sockets.peer(made)
    if user != os.geteuid():
        raise Refused(f"the other side runs as user {user}, this one as {os.geteuid()}; run both as one user")
    return f"process {process}"


async def greet(made: socket.socket, key: Key, memory: int) -> Proven:
    """Prove to a server that we have the key, and have it prove the same. Refused when either fails."""
    peer = _checked_user(made)
    name, secret = next(iter(key.keys().items()))
    said = GREETING.pack(MAGIC, wire.VERSION, memory >= 0, secrets.token_bytes(32), name)
    await sockets.told(made, said, memory)
    answer, theirs = await sockets.heard(made, ANSWER.size)
    try:
        said += _agreed(answer)
        await sockets.told(made, PROOF.pack(_signed(secret, b"client", said)))
        answer, none = await sockets.heard(made, ANSWER.size)
        if none >= 0:
            os.close(none)
        if not hmac.compare_digest(_agreed(answer), _signed(secret, b"server", said)):
            raise Refused(f"the server does not have the key of {key.path}")
    except BaseException:
        if theirs >= 0:
            os.close(theirs)
        raise
    return Proven(peer, theirs)


def _agreed(answer: bytes) -> bytes:
    refused, value, reason = ANSWER.unpack(answer)
    if refused:
        raise Refused(f"refused by the server: {reason.rstrip(bytes(1)).decode('utf-8', 'replace')}")
    return bytes(value)


async def meet(made: socket.socket, key: Key, memory: int) -> Proven:
    """Have a client prove that it has the key, then prove it as well. Refused, and the client told, when it fails."""
    theirs = -1
    try:
        peer = _checked_user(made)
        said, theirs = await sockets.heard(made, GREETING.size)
        magic, version, _, _, name = GREETING.unpack(said)
        if magic != MAGIC:
            raise Refused("the other side does not speak this protocol")
        if version != wire.VERSION:
            raise Refused(f"the client speaks version {version}, the server {wire.VERSION}; update the older")
        secret = key.keys().get(name)
        if secret is None:
            raise Refused("the client's key is not among the server's; give both the same file")
        answer = ANSWER.pack(0, secrets.token_bytes(32), b"")
        await sockets.told(made, answer, memory)
        said += _agreed(answer)
        proof, none = await sockets.heard(made, PROOF.size)
        if none >= 0:
            os.close(none)
        if not hmac.compare_digest(proof, _signed(secret, b"client", said)):
            raise Refused(
                "the client's proof is wrong: it does not have the key, or repeats what it overheard"
            )
        await sockets.told(made, ANSWER.pack(0, _signed(secret, b"server", said), b""))
    except BaseException as error:
        if theirs >= 0:
            os.close(theirs)
        if isinstance(error, Refused):
            await sockets.told(made, ANSWER.pack(1, b"", str(error).encode("utf-8", "replace")[:200]))
        raise
    return Proven(peer, theirs)
