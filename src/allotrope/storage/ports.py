"""Ports: what a log and a ledger must do. A log only carries; the ledger owns what has taken effect.

Written by one host at a time. Every event is named by (origin, path), the same in a repeated attempt: so
an inbox that remembers names makes one effect, and forgets them once their origin is finished.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Protocol, runtime_checkable

import msgspec

from allotrope.kernel.errors import Refused
from allotrope.kernel.tables import Durability

LARGEST = (
    32 << 20
)  # bytes of an event, and of all that one operation publishes: what is larger belongs in a file


class Envelope(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One input or event on its way. An input has an empty path, and its origin is given by the log."""

    kind: str  # the event type, or `Component.operation` of a command
    key: str
    body: bytes
    at: int  # microseconds since 1970, by the host's own watch, at which its input was accepted
    origin: int = 0
    path: str = ""  # who made it: "/Intake.accept#000/Scorer.score#000"
    request: str = ""  # the caller's id of the attempt, for an input
    tenant: str = ""
    trace: str = ""  # W3C traceparent of the span that made it
    time: int = (
        0  # microseconds since 1970 that its operations take for now: the caller's word, if it gave one
    )

    @property
    def name(self) -> str:
        """Return the event's name, the same in every attempt and replay."""
        return f"{self.origin}{self.path}"

    def accepted(self, origin: int) -> "Envelope":
        """Return the input under its origin."""
        return Envelope(
            self.kind, self.key, self.body, self.at, origin, "", self.request, self.tenant, self.trace, self.time
        )  # fmt: skip


class Entry(msgspec.Struct, frozen=True, gc=False):
    """An envelope at its place in the log."""

    position: int
    partition: int
    envelope: Envelope


class Commit(msgspec.Struct, frozen=True, gc=False):
    """All that one operation does, as a whole: inbox, state, outbox, outcome and decision record."""

    consumer: str  # `Component.operation`
    origin: int
    path: str  # of the envelope consumed
    writes: tuple[tuple[str, str, bytes | None], ...] = ()  # (table, key, row), None for a deletion
    outbox: tuple[Envelope, ...] = ()
    request: str = ""  # tenant, operation and request id of a command; "" without one
    outcome: bytes = b""  # its recorded answer, together with a hash of its arguments
    record: bytes = b""  # the decision record
    at: int = 0
    lease: tuple[int, int] | None = None  # (partition, epoch) under which it ran, where several may write
    reads: tuple[
        tuple[str, str | None], ...
    ] = ()  # rows that it has read since `mark`, None for a whole table
    mark: int = -1


class Fenced(Refused):
    """Nothing was stored: the partition is another's now. Who gets this has been away for too long."""


class Overtaken(Refused):
    """Nothing was stored: another process has changed what was read. Run it again."""


class Log(Protocol):
    """Carries envelopes, in partitions by key. Origins count inputs only: dense, the same on every log."""

    durability: Durability

    async def open(self) -> None:
        """Reach the server, where there is one, and take the log up where it ends; before anything else.

        Refused when another host has it, or when it cannot keep what was asked of it.
        """

    async def append(self, inputs: Sequence[Envelope]) -> list[Entry]:
        """Give each input the next origin, store all, return them once the durability holds."""

    async def relay(self, source: str, numbered: Sequence[tuple[int, Envelope]]) -> None:
        """Store derived events under their numbers in the outbox of `source`; known ones are passed over."""

    async def read(self, position: int = 0, limit: int = 1000) -> Sequence[Entry]:
        """Return entries from a position on, in order: fewer than `limit` only where the log ends.

        Corrupted names file and position of a bad one.
        """

    def skip(self, origin: int) -> None:
        """Give no origin up to this one: a ledger has effects of it, even if its entry was lost in a power cut."""

    def acknowledge(self, consumer: str, position: int) -> None:
        """Take the hint that a consumer needs nothing before `position`."""

    async def close(self) -> None:
        """Finish what is being written, then release all that it holds. What was acknowledged is kept."""

    def release(self) -> None:
        """Let go at once of what making it took: for a log that is given up before it was opened."""


class Removed(msgspec.Struct, frozen=True):
    """What of one kind was removed from a log: how many entries, the newest one's position and time."""

    entries: int
    position: int
    at: int


@runtime_checkable
class ShortLog(Log, Protocol):
    """A log from which old entries may be removed. No log has to: where one cannot, `keep` and `compact` are refused.

    Positions keep their numbers: what is missing on purpose is known, and reading passes over it.
    """

    async def shorten(self, before: int, keep: Mapping[str, int], limit: int = 500) -> int:
        """Remove some entries at positions below `before`, and return how many: 0 when there are no more.

        Of each kind in `keep`, those accepted before a time in microseconds since 1970; a time of -1 stands for all
        but the newest one of each key. Notes of the log itself stay.
        """

    def removed(self) -> Mapping[str, Removed]:
        """Return what was removed so far, by kind."""


class Ledger(Protocol):
    """Owns position, inbox, state, outbox, outcomes and decision records; commits them in one transaction."""

    durability: Durability

    def get(self, table: str, key: str) -> bytes | None:
        """Return a committed row."""

    def scan(self, table: str) -> Iterator[tuple[str, bytes]]:
        """Yield the committed rows of a table in the order of their keys."""

    async def commit(self, effect: Commit) -> bool:
        """Store all of it or nothing; return, once the durability holds, whether it was new."""

    def inbox(self) -> Iterator[tuple[str, int, str]]:
        """Yield (consumer, origin, path) of every effect whose origin is not finished."""

    def floor(self) -> int:
        """Return the lowest origin that may be unfinished."""

    def finish(self, floor: int) -> None:
        """Forget inbox names below `floor`; written with the next commit, since it is only a hint."""

    def outbox(self, limit: int = 1000) -> Sequence[tuple[int, Envelope]]:
        """Return numbered events that were committed and not yet relayed, in order."""

    async def relayed(self, numbers: Iterable[int]) -> None:
        """Forget outbox events that the log has stored."""

    def outcome(self, request: str) -> bytes | None:
        """Return the recorded answer of a request of the last 24 hours."""

    def records(self, origin: int | None = None) -> Iterator[tuple[str, int, str, bytes]]:
        """Yield (consumer, origin, path, record) of decisions, of one origin or of all that are kept."""

    def close(self) -> None:
        """Release the file. What was committed is kept."""


@runtime_checkable
class SharedLedger(Ledger, Protocol):
    """A ledger that several processes may have open. Each writes under a lease, and learns what overtook it."""

    shared: bool  # whether it was opened so

    async def claim(self, leases: Mapping[int, int]) -> None:
        """Hold partitions, each under an epoch, from now on. Fenced when a later epoch has one already."""

    @property
    def stopped(self) -> str:
        """Return why nothing is written any more, "" while all is well."""

    def mark(self) -> int:
        """Return a number that grows with each commit of any process."""
