"""How a host runs beside its topology, and what may come with an input."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from typing import Protocol

import msgspec

from allotrope.kernel.errors import Expired, Lost, Refused
from allotrope.runtime.records import Record
from allotrope.runtime.telemetry.decisions import Recent
from allotrope.runtime.telemetry.sinks import Sink
from allotrope.runtime.tracing import Tracer
from allotrope.storage.checkpoints import Checkpoints


class Disturbance(Protocol):
    """What a check may do to a host to bring differences to light."""

    repeats: int  # deliveries that were run twice

    async def pause(self, title: str) -> None:
        """Let others go first, perhaps."""

    def twice(self, title: str) -> bool:
        """Return whether to run a delivery, drop its effect, and run it again, as after a crash."""

    def saw(self, record: Record) -> None:
        """Take note of a finished delivery."""

    def spread(self) -> tuple[int, tuple[str, ...]]:
        """Return the seed and the words from which the process of a unit makes a disturbance of its own."""


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How a host runs, beside its topology. `now` returns microseconds since 1970."""

    now: Callable[[], int] = lambda: time.time_ns() // 1000
    seed: int = 0
    replicas: int = 1
    release: int = 0  # of the process of a unit
    tracer: Tracer | None = None
    sinks: tuple[Sink, ...] = ()  # where finished spans go
    recent: Recent | None = None  # where decisions go that are not committed with their effect
    disturbance: Disturbance | None = None
    recalled: dict[str, bytes] | None = None  # answers of unrepeatable queries, shared by the runs of a check
    ticks: bool = True
    kept: Checkpoints | None = None  # where the states of views are kept from time to time
    rebuilt: frozenset[str] = frozenset()  # views whose kept state is passed over
    accepted: frozenset[str] = frozenset()  # views to be rebuilt from a shortened log
    started: Callable[[], None] = lambda: None  # called once it has taken up what a former life had begun


class Reused(Refused):
    """A request id came before, with other values."""


class Input(msgspec.Struct, frozen=True, kw_only=True):
    """What may come with an input: the caller's id of the attempt, when it happened, who asked, under which trace."""

    request: str = ""
    at: datetime | None = None
    tenant: str = ""
    traceparent: str = ""
    deadline_s: float | None = None


@contextlib.asynccontextmanager
async def patience(deadline_s: float | None, title: str) -> AsyncIterator[None]:
    """Give up waiting, not the work, at a deadline: Lost. Expired when it has passed before anything ran."""
    if deadline_s is not None and not deadline_s > 0:
        raise Expired(
            f"{title}: the deadline, {deadline_s} s from now, has passed; nothing ran. Ask again with a later one"
        )
    try:
        async with asyncio.timeout(deadline_s):
            yield
    except TimeoutError:
        raise Lost(
            f"{title}: no answer within {deadline_s} s; it will run. Ask again with the same id"
        ) from None
