"""Sockets before they are connections: bound, connected, and read to the byte. It trusts nobody yet.

What follows a greeting belongs to a transport, so not one byte more than the greeting may be read here; and an open
file can only come along with bytes that are read here, since no transport of asyncio hands it on.
"""

import array
import asyncio
import contextlib
import os
import socket
import stat
import struct
from collections.abc import Callable, Iterator

from allotrope.kernel.errors import Refused
from allotrope.transports.frames.addresses import Tcp, Unix
from allotrope.transports.frames.errors import Unreachable

PATH_BYTES = 100  # of a unix socket; systems allow 103 to 107
BACKLOG = 512
BUFFER = 1 << 20  # of a unix socket's kernel memory: an array takes fewer turns; the system may give less


async def listening(address: Unix | Tcp) -> socket.socket:
    """Return a socket that listens at the address; Refused when it cannot."""
    loop = asyncio.get_running_loop()
    try:
        if isinstance(address, Unix):
            return _listening_unix(address)
        found = await loop.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        family, kind, protocol, _, place = found[0]
        made = socket.socket(family, kind, protocol)
        try:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.setblocking(False)
            made.bind(place)
            made.listen(BACKLOG)
        except OSError:
            made.close()
            raise
        return made
    except OSError as error:
        raise Refused(
            f"cannot listen at {address}: {error.strerror or error}; "
            "stop what listens there, or choose another address"
        ) from None


def _listening_unix(address: Unix) -> socket.socket:
    """Take over a file that a killed process has left, but nothing that is still in use and no other kind of file."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    made.setblocking(False)
    try:
        with _short(address.path) as path:
            try:
                made.bind(path)
            except OSError:
                if not _abandoned(path):
                    raise
                os.unlink(path)
                made.bind(path)
            os.chmod(path, 0o600)  # before `listen`: until then nobody can connect
            made.listen(BACKLOG)
    except OSError:
        made.close()
        raise
    return made


def _abandoned(path: str) -> bool:
    """Return whether it is a socket that nobody listens at any more, left behind by a process that was killed."""
    with contextlib.suppress(OSError):
        if stat.S_ISSOCK(os.lstat(path).st_mode):
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
                probe.setblocking(False)
                try:
                    probe.connect(path)
                except ConnectionRefusedError:
                    return True
    return False


def unlink(address: Unix, inode: int) -> None:
    """Remove the socket's file, unless another process has put its own there since."""
    with contextlib.suppress(OSError), _short(address.path) as path:
        if os.lstat(path).st_ino == inode:
            os.unlink(path)


def inode(address: Unix) -> int:
    """Return what tells this file from a later one at the same path."""
    with _short(address.path) as path:
        return os.lstat(path).st_ino


@contextlib.contextmanager
def _short(path: str) -> Iterator[str]:
    """Give a name of the path that fits a socket's address; Refused when there is none.

    On Linux a folder that is open has a short name of its own.
    """
    if len(os.fsencode(path)) <= PATH_BYTES:
        yield path
        return
    folder, name = os.path.split(path)
    if not os.path.isdir("/proc/self/fd") or len(os.fsencode(name)) > PATH_BYTES - 24:
        raise Refused(
            f"unix:{path}: {len(os.fsencode(path))} bytes, a socket's path may have {PATH_BYTES}; "
            "choose a shorter one"
        )
    opened = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{opened}/{name}"
    finally:
        os.close(opened)


async def connected(address: Unix | Tcp) -> socket.socket:
    """Return a socket connected to the address; Unreachable when nobody listens there."""
    loop = asyncio.get_running_loop()
    try:
        if isinstance(address, Unix):
            made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            target: str | tuple[object, ...] = ""
        else:
            found = await loop.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
            family, kind, protocol, _, target = found[0]
            made = socket.socket(family, kind, protocol)
        try:
            made.setblocking(False)
            if isinstance(address, Unix):
                with _short(address.path) as path:
                    await loop.sock_connect(made, path)
            else:
                await loop.sock_connect(made, target)
        except BaseException:
            made.close()
            raise
    except OSError as error:
        raise Unreachable(f"{address}: {error.strerror or error}; is its server running?", 1.0) from None
    tune(made)
    return made


def tune(made: socket.socket) -> None:
    """Set what a socket needs for short messages and long arrays."""
    if made.family == socket.AF_UNIX:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
    else:
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def peer(made: socket.socket) -> tuple[int, int]:
    """Return user and process id at the other end of a unix socket; the process is 0 where it is not told."""
    if hasattr(socket, "SO_PEERCRED"):
        process, user, _ = struct.unpack("3i", made.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        return user, process
    credentials = made.getsockopt(0, 1, 76)  # SOL_LOCAL, LOCAL_PEERCRED: version, user, groups
    return struct.unpack_from("II", credentials)[1], 0


async def told(made: socket.socket, data: bytes, descriptor: int = -1) -> None:
    """Send all of a short message, with an open file where one is given."""
    loop = asyncio.get_running_loop()
    if descriptor < 0:
        await loop.sock_sendall(made, data)
        return
    files = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [descriptor]))]
    while True:
        try:
            sent = made.sendmsg([data], files)
            break
        except BlockingIOError:
            await _ready(loop.add_writer, loop.remove_writer, made.fileno())
    if sent < len(data):
        await loop.sock_sendall(made, data[sent:])


async def heard(made: socket.socket, size: int) -> tuple[bytes, int]:
    """Return exactly `size` bytes, and the open file that came with them or -1; ConnectionError at the end."""
    loop = asyncio.get_running_loop()
    data, descriptor = b"", -1
    room = socket.CMSG_SPACE(4) if made.family == socket.AF_UNIX else 0
    try:
        while len(data) < size:
            try:
                more, files, _, _ = made.recvmsg(
                    size - len(data), room, getattr(socket, "MSG_CMSG_CLOEXEC", 0)
                )
            except BlockingIOError:
                await _ready(loop.add_reader, loop.remove_reader, made.fileno())
                continue
            for _, _, packed in files:
                for found in array.array("i", packed[: len(packed) // 4 * 4]):
                    if descriptor >= 0:
                        os.close(descriptor)  # one is all that we ask for
                    os.set_inheritable(found, False)
                    descriptor = found
            if not more:
                raise ConnectionError("it closed the connection")
            data += more
    except BaseException:
        if descriptor >= 0:
            os.close(descriptor)
        raise
    return data, descriptor


async def _ready(add: Callable[..., object], remove: Callable[[int], object], number: int) -> None:
    """Return once the socket can be read or written, by the loop's own watch on it."""
    ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    add(number, _settle, ready)
    try:
        await ready
    finally:
        remove(number)


def _settle(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)
