"""Shared memory for large buffers on one host: written once by the sender, read in place by the receiver.

The memory has no name: it is an open file that is handed over the socket, so whatever kills a process, nothing is
left. The sender owns it and gives out blocks; the receiver says when nobody looks at them any more. It decides
nothing about what travels through it.
"""

import ctypes
import fcntl
import mmap
import os
import tempfile
import weakref
from collections import deque
from collections.abc import Callable

from allotrope.transports.frames.wire import Malformed

BLOCK = 64 << 10
MOST = 1 << 32  # bytes that a peer may ask us to map; it costs no memory until they are used


def opened(size: int) -> int:
    """Return the descriptor of `size` bytes of memory without a name, which can neither shrink nor grow.

    Where the system has no memfd it is a file already deleted, on the file system for temporary files.
    """
    if not hasattr(os, "memfd_create"):
        with tempfile.TemporaryFile() as file:
            file.truncate(size)
            return os.dup(file.fileno())
    memory = os.memfd_create("allotrope-frames", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(memory, size)
    # A peer that cut the file short under our feet would kill us with SIGBUS.
    fcntl.fcntl(memory, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
    return memory


class Arena:
    """The sender's memory: which blocks are free. First fit, so that the same few pages stay in use."""

    def __init__(self, descriptor: int) -> None:
        """Map what `opened` returned; the caller closes the descriptor."""
        size = os.fstat(descriptor).st_size
        self._view = memoryview(mmap.mmap(descriptor, size))
        self._free = [(0, size // BLOCK)]  # (first, count), in order, never side by side
        self._taken: dict[int, int] = {}

    @property
    def taken(self) -> int:
        """Return how many blocks are lent."""
        return sum(self._taken.values())

    def put(self, buffer: memoryview) -> int:
        """Copy the bytes in, and return their first block; -1 when there is no room: then send them inline."""
        count = -(-buffer.nbytes // BLOCK)
        place = next((place for place, (_, free) in enumerate(self._free) if free >= count), -1)
        if place < 0:
            return -1
        first, free = self._free[place]
        self._free[place : place + 1] = [(first + count, free - count)] if free > count else []
        self._taken[first] = count
        start = first * BLOCK
        self._view[start : start + buffer.nbytes] = buffer
        return first

    def release(self, first: int) -> None:
        """Take blocks back. Malformed when they were not lent."""
        count = self._taken.pop(first, 0)
        if not count:
            raise Malformed(f"block {first} of shared memory was given back, but it is not lent")
        place = 0
        while place < len(self._free) and self._free[place][0] < first:
            place += 1
        if place < len(self._free) and self._free[place][0] == first + count:
            count += self._free.pop(place)[1]
        if place and sum(self._free[place - 1]) == first:
            place -= 1
            before = self._free.pop(place)
            first, count = before[0], before[1] + count
        self._free.insert(place, (first, count))


class Window:
    """The receiver's side: views of the other's memory, each told about once nobody holds it any more."""

    def __init__(self, descriptor: int) -> None:
        """Map the memory; the caller closes the descriptor. Malformed when it is none that can be trusted."""
        size = os.fstat(descriptor).st_size
        if not BLOCK <= size <= MOST:
            raise Malformed(f"shared memory of {size:,} bytes")
        if hasattr(os, "memfd_create"):
            try:
                seals = fcntl.fcntl(descriptor, fcntl.F_GET_SEALS)
            except OSError:
                seals = 0
            if not seals & fcntl.F_SEAL_SHRINK:
                raise Malformed("shared memory that its owner could cut short")
        # To be written as well, since a view that can be told of its end has to be; what goes out of here cannot be.
        self._map = mmap.mmap(descriptor, size)
        self._size = size
        self._lent: dict[int, weakref.ref[object]] = {}
        self._over: deque[int] = deque()  # a view may end in any thread, so what ends is queued
        self.wake: Callable[[], None] | None = None  # called when something was queued

    @property
    def lent(self) -> int:
        """Return how many buffers somebody still holds."""
        return len(self._lent)

    def view(self, block: int, size: int) -> memoryview:
        """Return the bytes, not to be written. The blocks are free again when the last view of them is gone."""
        start = block * BLOCK
        if not size or block < 0 or start + size > self._size or block in self._lent:
            raise Malformed(f"no {size:,} bytes of shared memory to be had at block {block}")
        # Views of views all hold this object and nothing else of ours, so its end is theirs.
        holder = (ctypes.c_char * size).from_buffer(self._map, start)

        def ended(_: object) -> None:
            del self._lent[block]
            self._over.append(block)
            if self.wake is not None:
                self.wake()

        self._lent[block] = weakref.ref(holder, ended)
        return memoryview(holder).cast("B").toreadonly()

    def over(self) -> list[int]:
        """Return the blocks that nobody holds any more, each once."""
        ended = []
        while self._over:
            ended.append(self._over.popleft())
        return ended
