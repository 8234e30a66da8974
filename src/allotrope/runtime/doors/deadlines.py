"""Deadlines: one timer per event loop, however many calls are waiting. Cutting a call cancels its task."""

import asyncio
from heapq import heapify, heappop, heappush


class Armed:
    """One deadline that a task is under."""

    __slots__ = ("at", "cut", "over", "task")

    def __init__(self, at: float, task: asyncio.Task[object] | None) -> None:
        """Watch `task` until loop time `at`."""
        self.at, self.task = at, task
        self.over = self.cut = False

    def __lt__(self, other: "Armed") -> bool:
        """Order by time."""
        return self.at < other.at


class Deadlines:
    """The deadlines of one loop, by time."""

    def __init__(self) -> None:
        """Start with none."""
        self._heap: list[Armed] = []
        self._timer: asyncio.TimerHandle | None = None
        self._over = 0

    def arm(self, at: float) -> Armed:
        """Cancel the current task at loop time `at`, unless `disarm` comes first."""
        armed = Armed(at, asyncio.current_task())
        heappush(self._heap, armed)
        if self._heap[0] is armed:
            self._set()
        return armed

    def disarm(self, armed: Armed) -> None:
        """Let the deadline pass in silence. Its place in the heap is given back in bulk."""
        armed.over = True
        self._over += 1
        if self._over > 64 and self._over * 2 > len(self._heap):
            self._heap = [entry for entry in self._heap if not entry.over]
            heapify(self._heap)
            self._over = 0

    def _set(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_at(self._heap[0].at, self._fire)

    def _fire(self) -> None:
        now = asyncio.get_running_loop().time()
        while self._heap and (self._heap[0].over or self._heap[0].at <= now):
            armed = heappop(self._heap)
            if armed.over:
                self._over -= 1
            elif armed.task is not None:
                armed.cut = True
                armed.task.cancel()
        self._timer = None
        if self._heap:
            self._set()
