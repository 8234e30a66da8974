"""Requests: the sidecar that keeps a log of all calls of a replica, and what they add up to by the minute.

It lives in a process of its own, which nobody waits for; a kill of it loses no row that the ring still has. It ends
with its replica, once it has written the rest.
"""

import logging
import os
import signal
import sys
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import msgspec

from allotrope.kernel.errors import Refused
from allotrope.runtime.telemetry.secrets import HIDDEN, is_secret, mask
from allotrope.sidecars.entries import read, seen, status_of
from allotrope.sidecars.figures import FOLDER, Figures, read_figures
from allotrope.sidecars.files import COLUMNS, Book
from allotrope.sidecars.order import Order
from allotrope.sidecars.ring import Reader

log = logging.getLogger("allotrope.sidecars")
LOOK_S, WRITE_S = 0.1, 1.0  # between two looks at the ring; between two writes
_BATCH = 5000  # rows that are written at once, whatever the time


class Requests:
    """Carries from the ring to the files and the figures."""

    def __init__(self, order: Order) -> None:
        """Take up what the last one of this replica has left."""
        self.order, self.reader = order, Reader(order.ring)
        os.close(order.ring)
        folder = Path(order.folder) / FOLDER / order.unit
        self.book = Book(folder, f"{order.replica}-{order.life}", order.limits)
        self._path = folder / f"{order.replica}.json"
        before = read_figures(self._path) or Figures(order.unit, order.replica, release=order.release)
        self.figures = before if before.life == order.life else Figures(
            order.unit, order.replica, order.life,
            before.minutes if before.release == order.release else {}, release=order.release,
        )  # fmt: skip
        self.figures.starts += 1
        self._rows: dict[str, list[Any]] = {name: [] for name in COLUMNS}
        self._written = monotonic()
        self._forget_old(folder)

    def _forget_old(self, folder: Path) -> None:
        """Remove the figures of replicas that have long gone."""
        kept = sorted(folder.glob("*.json"), key=lambda path: path.stat().st_mtime)
        for old in kept[: -self.order.limits.files]:
            old.unlink(missing_ok=True)

    def look(self, *, last: bool = False) -> None:
        """Take what there is, and write it when it is time."""
        for position, data in self.reader.take():
            if position > self.book.last:  # else a former sidecar has written it, and died before it said so
                self._take(position, data)
        due = monotonic() - self._written >= WRITE_S
        if last or due or len(self._rows["position"]) >= _BATCH:
            self._write()

    def _take(self, position: int, data: bytes) -> None:
        try:
            call = read(data)
            said = seen(call, self.order.names if self.order.limits.arguments else None)
            status = status_of(call.way, call.reply)
        except (msgspec.DecodeError, Refused, ValueError, IndexError) as error:
            log.debug("an entry cannot be read: %s", error)
            self.figures.unread += 1
            return
        given = hidden(said.arguments)
        row = (
            call.at, self.order.unit, self.order.replica, said.title, call.took, status, said.origin, said.path,
            said.tenant, said.request, said.trace, call.asked, call.answered,
            None if given is None else mask(msgspec.json.encode(given).decode()), position,
        )  # fmt: skip
        for column, value in zip(self._rows.values(), row, strict=True):
            column.append(value)
        minute = self.figures.at(call.at // 60_000_000, said.title)
        minute.add(call.took, status)
        if given is not None:
            minute.follow(given)

    def _write(self) -> None:
        rows, figures = self._rows, self.figures
        count, self._written = len(rows["position"]), monotonic()
        changed = count or figures.dropped != self.reader.dropped or not self._path.exists()
        if count:
            self.book.write(rows)
            for column in rows.values():
                column.clear()
        self.reader.confirm(self.reader.position)
        self.book.turn()
        if changed:
            figures.calls, figures.dropped = figures.calls + count, self.reader.dropped
            fresh = self._path.with_suffix(".fresh")
            fresh.write_bytes(msgspec.json.encode(figures))
            fresh.replace(self._path)

    def close(self) -> None:
        """Write all that the ring still has."""
        self.look()
        self.look(last=True)  # what came before the look above
        self.book.close()


def serve(order: Order) -> None:
    """Be the sidecar of a replica, until nothing more comes or the replica is gone."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # it goes when its replica goes, or says so
    _wake_with_parent()
    mask.learn(order.secrets)
    requests = Requests(order)
    while not requests.reader.ended and os.getppid() == order.parent:
        sleep(LOOK_S)
        requests.look()
    requests.close()


def _wake_with_parent() -> None:
    """Go on when the replica ends, even if this process is stopped then, so that nothing is left behind. Linux only."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(1, int(signal.SIGCONT))  # PR_SET_PDEATHSIG


def hidden(value: Any) -> Any:
    """Return plain values without those whose name says that nobody may read them."""
    if isinstance(value, dict):
        return {str(name): HIDDEN if is_secret(str(name)) else hidden(part) for name, part in value.items()}
    return [hidden(part) for part in value] if isinstance(value, list | tuple) else value


def main() -> None:
    """Be the sidecar that the order on stdin describes."""
    serve(msgspec.json.decode(sys.stdin.buffer.read(), type=Order))
