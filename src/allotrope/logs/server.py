"""What a server must do to keep a log: store records in order, read them back, and let one writer in.

Not here: what a record is (`records`), and what a log makes of them (`remote`).
"""

from collections.abc import Sequence
from typing import Protocol

from allotrope.kernel.errors import Refused

BESIDE = 16 << 10  # bytes of a record that are not the event itself: names, keys, a state


class Away(Exception):
    """The server is not reached, or it has not answered: nobody knows whether what was sent was stored."""


class Server(Protocol):
    """What keeps the records of one log. Positions count from 1."""

    place: str  # for messages: address and name of the log, without what is secret
    largest: int  # bytes of a record, known once it is open

    async def open(self) -> int:
        """Connect, check what the server is set to, let no other writer in, and return the last position.

        It is also how to come back: what was held before may still be held. Away when it is not reached, Refused when
        it cannot keep what was asked of it, or another host writes this log.
        """

    async def store(self, first: int, records: Sequence[bytes]) -> None:
        """Store records at positions from `first` on, provided that the log ends before it. In order, so that
        a failure leaves the first of them at most.

        Away when the outcome is not known, Refused when some are not stored, with the reason.
        """

    async def fetch(self, position: int, limit: int) -> Sequence[tuple[int, bytes]]:
        """Return stored records from a position on, in order. Away when it is not reached."""

    async def last(self) -> int:
        """Return the last position as the server has it. Away when it is not reached."""

    async def close(self) -> None:
        """Let another writer in, and disconnect. Never raises for a server that is away."""

    async def remove(self) -> None:
        """Delete the log with all its entries, while it is open; then it can only be closed."""


def roomy(server: Server, largest: int) -> None:
    """Refuse a server that takes less than an event may have."""
    if largest and largest + BESIDE > server.largest:
        raise Refused(
            f"{server.place}: takes {server.largest:,} bytes, and an event may have {largest:,} with {BESIDE:,} "
            "beside it; let it take more, or set `largest_kb` in [log] to "
            f"{max((server.largest - BESIDE) // 1024, 0):,} at most"
        )
