"""Verify: reads every entry, row and page of an app's files, and says whether they are what was written.

Within one file: checksums of pages and entries, positions, SQLite's own check. Between files: whether events have what
made them, and whether ledgers and checkpoints are of this log. Not here: what a row means to its component.
"""

import apsw

from allotrope.evidence.backups.cuts import LOG, Cut, Told, rows, told_of
from allotrope.evidence.backups.entries import facts_of, gone_from, last_position, sound
from allotrope.evidence.backups.ledgers import Ledgers
from allotrope.evidence.backups.verdicts import Verdict
from allotrope.evidence.backups.views import compared
from allotrope.runtime.intake.entries import VERSION
from allotrope.storage.partitions import partition_of
from allotrope.storage.ports import Entry

_EVENT = "SELECT 1 FROM entries WHERE origin=? AND path=?"
_REPORT = 1000


def verified(cut: Cut, told: Told) -> Verdict:
    """Return what is found in files as of one instant."""
    verdict = Verdict()
    for name, fault in cut.faults.items():
        verdict.damage(name, "", fault)
    for number, (name, file) in enumerate(cut.files.items()):
        told("pages", number, len(cut.files))
        pages(name, file, verdict)
    ledgers = Ledgers(cut, verdict)
    log = None
    if cut.log is not None:
        try:
            log = Entries(cut.log, verdict, ledgers.waits)
            log.read(told)
        except apsw.Error as error:
            verdict.damage(LOG, "", told_of(error))
    elif LOG not in cut.faults:
        verdict.damage(LOG, "", "it is missing, and there is state that was made of it")
    for name in cut.ledgers:
        with verdict.guard(name):
            ledgers.read(name, log if log is not None and log.newest else None)
    for name, file in cut.checkpoints.items():
        with verdict.guard(name):
            compared(name, file, cut.log, verdict)
    return verdict


def pages(name: str, file: apsw.Connection, verdict: Verdict) -> None:
    """Have SQLite read all of a file: every page has its checksum, every index what its table has."""
    with verdict.guard(name):
        verdict.count("pages", int(file.pragma("page_count")))
        says = str(next(file.execute("PRAGMA integrity_check(1)"))[0])  # more would follow from the first
        if says != "ok":
            verdict.damage(name, "", f"SQLite says: {says.splitlines()[-1]}")


class Entries:
    """The entries of a log, read once from a position on."""

    def __init__(self, log: apsw.Connection, verdict: Verdict, waits: set[tuple[int, str]]) -> None:
        """`waits` are the names of events that are still on their way to the log."""
        self.log, self.verdict, self.waits = log, verdict, waits
        self.newest = 0  # origin of an input
        facts = facts_of(log)
        self._partitions = facts.get("partitions", 0)
        # After a power cut origins that a ledger may know are not given again.
        self._jumps = "doubtful" in facts
        self.short = bool(gone_from(log))
        self._gone = False  # whether something was removed since the last input
        self._lost: tuple[int, int, str] | None = None  # the range that is not told yet

    def read(self, told: Told, first: int = 1) -> None:
        """Read all from a position on; where that is not the first one, what lies before it is taken for sound."""
        last, self._gone = last_position(self.log), first > 1
        for entry, left in sound(self.log, first, self._missed):
            if entry.position % _REPORT == 0:
                told("entries", entry.position - first, last - first + 1)
            self._gone |= left
            self.verdict.count("entries")
            self._judge(entry, whole=first == 1)
        if self._lost is not None:
            self._tell(*self._lost)
        self.newest = max(self.newest, facts_of(self.log)["origin"] if self.short else 0)

    def _missed(self, first: int, last: int, why: str) -> None:
        self._gone = True  # what was there cannot be said: the origins behind it are no other damage
        if self._lost is not None and (self._lost[1] + 1, self._lost[2]) == (first, why):
            first = self._lost[0]
        elif self._lost is not None:
            self._tell(*self._lost)
        self._lost = first, last, why

    def _tell(self, first: int, last: int, why: str) -> None:
        place = f"position {first}" if first == last else f"positions {first} to {last}"
        self.verdict.damage(LOG, place, why)

    def _judge(self, entry: Entry, *, whole: bool) -> None:
        envelope, place = entry.envelope, f"position {entry.position}"
        if self._partitions and entry.partition != partition_of(envelope.key, self._partitions):
            self.verdict.damage(LOG, place, f"it is in partition {entry.partition}, where its key is not")
        if envelope.path == VERSION:
            return
        if not envelope.path:
            self._input(envelope.origin, place)
        elif whole:
            parent = envelope.path.rpartition("/")[0]
            if not self.knows(envelope.origin, parent):
                self.verdict.damage(LOG, place, f"event {envelope.name} is there, and not what made it")

    def _input(self, origin: int, place: str) -> None:
        if origin <= self.newest:
            self.verdict.damage(LOG, place, f"its origin {origin} does not come after {self.newest}")
        elif origin > self.newest + 1 and not self._gone:
            if self._jumps:
                self.verdict.notes.append(
                    f"origins {self.newest + 1:,} to {origin - 1:,} were not given: a power cut came before them"
                )
            else:
                missing = f"the inputs of origins {self.newest + 1} to {origin - 1} are missing before it"
                self.verdict.damage(LOG, place, missing)
        self.newest, self._gone = max(origin, self.newest), False

    def knows(self, origin: int, path: str) -> bool:
        """Return whether an event is in the log, or on its way there, or may have been removed on purpose."""
        if self.short or (origin, path) in self.waits:
            return True
        try:
            return bool(rows(self.log, _EVENT, (origin, path)))
        except apsw.Error:  # it may lie in a damaged page, which is told of where that is read
            return True
