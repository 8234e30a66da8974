"""The call in progress: who runs, at which origin, until when, and what it has read and written so far.

One context variable holds it, so a component's code never passes it along. Nothing here waits or sends.
"""

from collections.abc import Collection
from contextvars import ContextVar
from typing import Any

import msgspec

NEVER = float("inf")
LAST_ORIGIN = 1 << 62  # by hand, without a runtime, every origin is smaller: a read sees all


class Effect(msgspec.Struct, eq=False, gc=False):
    """What one operation has done so far; committed as a whole or dropped as a whole."""

    writes: dict[tuple[str, str], Any] = {}  # (table, key) -> value, None for a deletion
    tape: list[tuple[str, tuple[Any, ...], Any]] = []  # (what was asked, arguments, answer), for replay
    reads: set[tuple[str, str | None]] = set()  # (table, key), None for a whole table
    asked: dict[str, int] = {}  # questions that cannot be repeated, and how often each was asked
    stale: bool = False  # somebody committed a row that this operation had read

    def touches(self, rows: Collection[tuple[str, str]]) -> bool:
        """Return whether one of `rows` was read here, so that writing it makes this effect stale."""
        return any(at in rows or (at[1] is None and any(at[0] == of for of, _ in rows)) for at in self.reads)


class Call(msgspec.Struct, gc=False):
    """One call in progress. Times are seconds of the host's clock, `at` is microseconds since 1970."""

    component: str
    operation: str
    origin: int = LAST_ORIGIN
    path: str = ""
    at: int = 0
    deadline: float = NEVER
    tenant: str = ""
    request: str = ""
    effect: Effect | None = None  # held by handlers and commands only; so a query cannot write
    trace: Any = None  # the open span, None when this trace is not sampled
    seed: int = 0


current: ContextVar[Call | None] = ContextVar("current", default=None)
