"""Shields: what a caller has between itself and a callee elsewhere. They fail soon, or answer in its place.

Not here: repeats (`limits`), and how the callee is reached (`sites`).
"""

from collections import deque
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Any

from allotrope.kernel.calls import current
from allotrope.kernel.errors import Expired, Lost, Overloaded
from allotrope.planning.topology import Resilience
from allotrope.runtime.doors.limits import Budget
from allotrope.runtime.telemetry.meters import Meter

AWAY = (
    Lost,
    Overloaded,
    Expired,
)  # the callee was not there, or not in time; whatever else it says, it is there
Body = Callable[..., Awaitable[Any]]


class Breaker:
    """Shuts the way to a callee that has failed too often, and lets one call try whether it is back."""

    def __init__(self, failures: int, window_s: float, open_s: float) -> None:
        """Shut after so many failures within a window."""
        self.failures, self.window_s, self.open_s = failures, window_s, open_s
        self._failed: deque[float] = deque(maxlen=failures)
        self._until = 0.0  # shut until then; 0 is not shut
        self._trying = False

    @property
    def shut(self) -> bool:
        """Return whether calls are turned away, but for one at a time that tries."""
        return self._until > 0.0

    def wait(self, now: float) -> float:
        """Return 0.0 when a call may go, and count it as the one that tries; else the seconds until one may."""
        if not self._until:
            return 0.0
        if now < self._until:
            return self._until - now
        if self._trying:
            return self.open_s
        self._trying = True
        return 0.0

    def succeed(self) -> None:
        """Open the way."""
        self._until, self._trying = 0.0, False

    def fail(self, now: float) -> bool:
        """Count a failure; return whether it has shut the way."""
        self._failed.append(now)
        often = len(self._failed) == self.failures and now - self._failed[0] <= self.window_s
        if self._trying or (often and not self._until):
            self._until, self._trying = now + self.open_s, False
            self._failed.clear()
            return True
        return False

    def give_up(self) -> None:
        """Let another call try: this one was cut before anything was learned."""
        self._trying = False


class Shield:
    """Asks one query elsewhere as the topology says: within a deadline, through a breaker, again, or another one."""

    def __init__(
        self, title: str, body: Body, wanted: Resilience, meter: Meter, fallback: Body | None = None
    ) -> None:
        """Stand before `body`; what it comes to is counted on the meter."""
        self.title, self.body, self.wanted, self.meter, self.fallback = title, body, wanted, meter, fallback
        self.breaker = Breaker(wanted.breaker, wanted.window_s, wanted.open_s) if wanted.breaker else None
        self.budget = Budget(wanted.retries)

    async def ask(self, *arguments: Any) -> Any:
        """Return the answer, or that of the fallback when none can be had in time."""
        call = current.get()
        assert call is not None  # a door has set it
        before, deadline_s = call.deadline, self.wanted.deadline_s
        self.budget.earn()
        while True:
            if deadline_s is not None:
                call.deadline = min(before, perf_counter() + deadline_s)
            try:
                return await self._attempt(arguments)
            except AWAY as error:
                call.deadline = before
                if perf_counter() >= before or self.fallback is None:
                    raise  # who asks repeats it within a budget of its own
                if isinstance(error, Lost) and self.budget.spend():
                    continue
            self.meter.fallbacks += 1
            return await self.fallback(*arguments)

    async def _attempt(self, arguments: tuple[Any, ...]) -> Any:
        breaker = self.breaker
        if breaker is None:
            return await self.body(*arguments)
        if left := breaker.wait(perf_counter()):
            raise Overloaded(
                f"{self.title} has failed {breaker.failures} times, and is left alone for now", left
            )
        try:
            answer = await self.body(*arguments)
        except AWAY:
            self.meter.shut += breaker.fail(perf_counter())
            raise
        except Exception:
            breaker.succeed()  # it is there: what it says is between it and who asks
            raise
        except BaseException:
            breaker.give_up()
            raise
        breaker.succeed()
        return answer
