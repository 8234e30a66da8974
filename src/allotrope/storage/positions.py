"""Positions in a log by time: where to begin to read. Works on every log, by halving."""

from allotrope.storage.ports import Log


async def position_at(log: Log, moment: int) -> int:
    """Return the first position behind all entries of inputs accepted before `moment`, in microseconds since 1970.

    Where the host's watch was set back, it is one of the places at which that time was passed. Behind the last entry
    when all are older.
    """
    low = high = 1
    while (found := await _accepted(log, high)) and found[1] < moment:
        low = found[0] + 1
        high = 2 * low
    while low < high:
        middle = (low + high) // 2
        found = await _accepted(log, middle)
        if found and found[1] < moment:
            low = found[0] + 1
        else:
            high = middle
    return low


async def _accepted(log: Log, position: int) -> tuple[int, int] | None:
    """Return position and time of the first entry from a position on that is an event, and no note of the log."""
    while entries := await log.read(position, 4):
        for entry in entries:
            if entry.envelope.at:
                return entry.position, entry.envelope.at
        position = entries[-1].position + 1
    return None
