"""The ring: bounded memory through which a replica tells its sidecar, without a system call and without waiting.

One process writes and one reads. When there is no room an entry is dropped and counted. The memory outlives its
reader: the next one goes on where the last has confirmed. Not here: what an entry says (`entries`).
"""

import mmap
import os

from allotrope.transports.frames.shared import opened

_HEAD, _TAIL = 0, 1  # bytes written, bytes confirmed
_DROPPED, _PASSED, _ENDED = 2, 3, 4  # entries dropped, entries written, whether there will be no more
_COUNTS = 64  # bytes before the data
_SIZE = 4  # bytes that say how long an entry is, these included


class Memory:
    """The memory that both sides have mapped."""

    def __init__(self, descriptor: int) -> None:
        """Map what `Ring` has made; the caller closes the descriptor."""
        whole = memoryview(mmap.mmap(descriptor, os.fstat(descriptor).st_size))
        # By a cast, since each figure is then one store: packed bytes could be seen half written.
        self.counts = whole[:_COUNTS].cast("Q")
        self.data = whole[_COUNTS:]

    @property
    def dropped(self) -> int:
        """Return how many entries found no room."""
        return self.counts[_DROPPED]

    @property
    def passed(self) -> int:
        """Return how many entries were written."""
        return self.counts[_PASSED]

    @property
    def ended(self) -> bool:
        """Return whether the writer has said that it writes no more."""
        return self.counts[_ENDED] > 0


class Ring(Memory):
    """The writer's side, which owns the memory."""

    def __init__(self, size: int) -> None:
        """Make `size` bytes of room; `descriptor` is for the reader."""
        self.descriptor = opened(_COUNTS + size)
        super().__init__(self.descriptor)
        self._size, self._head, self._tail, self._number = size, 0, 0, 0

    def put(self, entry: bytes) -> None:
        """Write an entry, whose first four bytes are its length; drop it when there is no room."""
        size, head, room = len(entry), self._head, self._size
        if head + size - self._tail > room:
            self._tail = self.counts[_TAIL]
            if head + size - self._tail > room:
                return self.drop()
        start = head % room
        end = start + size
        if end <= room:
            self.data[start:end] = entry
        else:
            first = room - start
            self.data[start:], self.data[: size - first] = entry[:first], entry[first:]
        self._head = self.counts[_HEAD] = head + size
        self._number = self.counts[_PASSED] = self._number + 1

    @property
    def waiting(self) -> int:
        """Return how many bytes the reader has not confirmed."""
        return self._head - self.counts[_TAIL]

    def drop(self) -> None:
        """Count an entry that is not written."""
        self.counts[_DROPPED] += 1

    def end(self) -> None:
        """Say that nothing more will be written."""
        self.counts[_ENDED] = 1

    def close(self) -> None:
        """Close the descriptor; who has mapped the memory keeps it."""
        os.close(self.descriptor)


class Reader(Memory):
    """The reader's side: what it has taken is free for the writer once it has confirmed it."""

    def __init__(self, descriptor: int) -> None:
        """Begin where the last reader has confirmed."""
        super().__init__(descriptor)
        self.position = self.counts[_TAIL]  # of the next entry to be taken, in bytes ever written
        self._seen = self.position

    def take(self) -> list[tuple[int, bytes]]:
        """Return the entries that had been there at the last look, each with the position behind it.

        Not those after it: another core may see that the head has moved before it sees the bytes.
        """
        until, self._seen = self._seen, self.counts[_HEAD]
        if until == self.position:
            return []
        whole, at, found = self._piece(self.position, until), 0, []
        while at < len(whole):
            end = at + int.from_bytes(whole[at : at + _SIZE], "little")
            found.append((self.position + end, whole[at:end]))
            at = end
        self.position = until
        return found

    def _piece(self, start: int, end: int) -> bytes:
        room = len(self.data)
        first, last = start % room, (end - 1) % room + 1
        if first < last:
            return bytes(self.data[first:last])
        return bytes(self.data[first:]) + bytes(self.data[:last])

    def confirm(self, position: int) -> None:
        """Let the writer have the room of all before `position`."""
        self.counts[_TAIL] = position
