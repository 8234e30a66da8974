"""Limits: how many calls run at once, how many may wait, how often one is repeated, how far an input may lead."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Any

from allotrope.kernel.calls import Call, current
from allotrope.kernel.errors import Failed, Lost, Overloaded
from allotrope.kernel.operations import events_of

STEPS = 256  # from one event to the next, of one input; each path names them all, so that a chain costs its square
_FAR = STEPS * len("/A.b#000")  # no path of so many steps is shorter


class Slots:
    """The places of one component. Taking a free one is a comparison; beyond them callers queue up in order."""

    __slots__ = ("free", "name", "queue", "waiting")

    def __init__(self, name: str, concurrency: int, queue: int) -> None:
        """Allow `concurrency` at once and `queue` waiting."""
        self.name, self.free, self.queue = name, concurrency, queue
        self.waiting: deque[asyncio.Future[None]] = deque()

    async def take(self) -> None:
        """Return once a place is taken. Overloaded when too many wait already."""
        if self.free > 0:  # then nobody waits
            self.free -= 1
            return
        if len(self.waiting) >= self.queue:
            raise Overloaded(
                f"{self.name}: {self.queue} calls wait already; come back later or raise its limit", 1.0
            )
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give()  # the place came together with the cancellation: pass it on
            raise

    def give(self) -> None:
        """Hand a place back, and on to the first who waits. Fewer than none are free while a cut thread still runs."""
        self.free += 1
        while self.waiting and self.free > 0:
            turn = self.waiting.popleft()
            if not turn.done():
                self.free -= 1
                turn.set_result(None)


class Budget:
    """A retry budget: each call earns a share of a repeat, so repeats add no more than that to a path's load."""

    __slots__ = ("share", "tokens")

    def __init__(self, share: float = 0.1) -> None:
        """Start with a few, so that a quiet path may repeat at once."""
        self.share = share
        self.tokens = 100.0 * share

    def earn(self) -> None:
        """Count one first attempt."""
        if self.tokens < 1000.0 * self.share:
            self.tokens += self.share

    def spend(self) -> bool:
        """Return whether a repeat may be made, and count it."""
        if self.tokens < 1.0:
            return False
        self.tokens -= 1.0
        return True


class Gone(Lost):
    """Lost, since the process that had it has ended. `ours`: somebody on our side has ended it."""

    def __init__(self, message: str, *, killed: bool = False, ours: bool = False) -> None:
        super().__init__(message)
        self.killed, self.ours = killed, ours  # `killed`: by SIGKILL, which anybody may send at any time


def repeating(ask: Callable[..., Awaitable[Any]], budget: Budget) -> Callable[..., Awaitable[Any]]:
    """Return a query that asks again when its answer was Lost on the way, within the budget and the deadline."""

    async def asked(*given: Any, **named: Any) -> Any:
        budget.earn()
        ends = 0
        while True:
            try:
                return await ask(*given, **named)
            except Lost as error:
                call = current.get()
                ends += isinstance(error, Gone)  # twice: it may be what ends them, and there are not many
                if (call is not None and perf_counter() >= call.deadline) or ends > 1 or not budget.spend():
                    raise

    return asked


def check_steps(call: Call, answer: Any) -> None:
    """Raise Failed when what this call publishes would lead too far from its input: nearly always round in a cycle."""
    if len(call.path) < _FAR or call.path.count("/") < STEPS or not events_of(answer):
        return
    steps = [step.partition("#")[0] for step in call.path.split("/")[1:]]
    title, way = f"{call.component}.{call.operation}", ""
    if title in steps:
        last = len(steps) - 1 - steps[::-1].index(title)
        way = f" round the cycle {' -> '.join([*steps[last:], title])}"
    text = (
        f"its input has led through {STEPS} steps{way}; let it end, or go on at the next tick of an `every`"
    )
    raise Failed(call.component, call.operation, text)
