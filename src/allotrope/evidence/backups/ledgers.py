"""Ledgers, held against the log that they were made of: neither may know what the other has never heard of."""

from pathlib import Path
from typing import Protocol

import apsw
import msgspec

from allotrope.evidence.backups.cuts import LOG, Cut, rows
from allotrope.evidence.backups.entries import owner_of
from allotrope.evidence.backups.verdicts import Verdict
from allotrope.kernel import codec
from allotrope.runtime.records import Record
from allotrope.storage.ports import Envelope

_BOTH = "restore log and ledgers from the same backup: `allotrope restore`"
_OWN = 1 << 62  # from this origin on, the inbox keeps notes of the ledger itself
_COUNTED = {"rows": "rows", "outcome": "outcomes"}


class Known(Protocol):
    """What a log knows."""

    newest: int  # origin
    short: bool

    def knows(self, origin: int, path: str) -> bool:
        """Return whether an event is there."""


class Ledgers:
    """The ledgers of one app."""

    def __init__(self, cut: Cut, verdict: Verdict) -> None:
        """Read what is on its way to the log, of all of them: what one has begun may have gone on in another."""
        self.cut, self.verdict = cut, verdict
        self.waits: set[tuple[int, str]] = set()
        self._sent: dict[str, list[tuple[int, Envelope]]] = {}
        self._sources: dict[str, int] = {}
        for name, ledger in cut.ledgers.items():
            sent = self._sent[name] = []
            with verdict.guard(name):
                for number, body in ledger.execute("SELECT number,envelope FROM outbox ORDER BY number"):
                    sent.append((number, codec.decode(body, Envelope)))
            self.waits.update((envelope.origin, envelope.path) for _, envelope in sent)
        if cut.log is not None:
            with verdict.guard(LOG):
                self._sources = dict(cut.log.execute("SELECT source,number FROM sources"))

    def read(self, name: str, log: Known | None) -> None:
        """Read one of them, and hold it against the log where there is one."""
        ledger = self.cut.ledgers[name]
        for table, what in _COUNTED.items():
            self.verdict.count(what, rows(ledger, f"SELECT count(*) FROM {table}")[0][0])
        newest = self._records(name, ledger)
        if log is None:
            return
        newest = max(
            [newest, *(self._effect(name, row, log) for row in ledger.execute("SELECT * FROM inbox"))]
        )
        if newest > log.newest:
            what = f"it has effects of inputs up to origin {newest}, and the log ends at {log.newest}"
            self.verdict.damage(name, f"origin {newest}", what, _BOTH)
        self._outbox(name, ledger, log)

    def _records(self, name: str, ledger: apsw.Connection) -> int:
        newest = 0
        for number, origin, body in ledger.execute("SELECT number,origin,body FROM record"):
            self.verdict.count("decision records")
            newest = max(newest, origin)
            try:
                same = codec.decode(body, Record).origin == origin
            except msgspec.MsgspecError:
                same = False
            if not same:
                self.verdict.damage(name, f"decision record {number}", "it cannot be read")
        return newest

    def _effect(self, name: str, row: tuple[int, str, str], log: Known) -> int:
        origin, path, consumer = row
        if origin >= _OWN:
            return 0
        self.verdict.count("inbox names")
        if origin <= log.newest and not log.knows(origin, path):
            what = f"{consumer} has taken the event {origin}{path}, which is not there"
            self.verdict.damage(name, f"inbox, origin {origin}", what, _BOTH)
        return origin

    def _outbox(self, name: str, ledger: apsw.Connection, log: Known) -> None:
        unit = Path(name).parent.name
        source = "/".join(filter(None, (owner_of(ledger), unit)))
        ((made,),) = ledger.execute("SELECT number FROM marks")
        taken = self._sources.get(source, 0)
        if taken > made:
            what = f"the log has its events up to number {taken}, and it has come to {made} only: it is older"
            self.verdict.damage(name, "marks", what, _BOTH)
        for number, envelope in self._sent[name]:
            self.verdict.count("outbox events")
            if number > made:
                self.verdict.damage(name, f"outbox {number}", f"numbers were given up to {made} only")
            elif number <= taken and not log.short and not self._relayed(envelope):
                what = f"the log has passed it, and does not have {envelope.name}"
                self.verdict.damage(name, f"outbox {number}", what, _BOTH)

    def _relayed(self, envelope: Envelope) -> bool:
        log = self.cut.log
        sql = "SELECT 1 FROM entries WHERE origin=? AND path=?"
        return log is not None and bool(log.execute(sql, (envelope.origin, envelope.path)).fetchall())
