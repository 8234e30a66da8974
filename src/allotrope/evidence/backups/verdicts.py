"""Verdicts: what reading all files of an app has found, how much was read, and what to do about each damage."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import apsw
import msgspec

from allotrope.evidence.backups.cuts import told_of
from allotrope.kernel.errors import Refused

MOST = 1000  # damages that are told one by one
BACKUP = "restore it from a backup: `allotrope restore`"


class Damage(NamedTuple):
    """One thing that is not as it was written."""

    file: str
    place: str  # in the file; "" for all of it
    what: str
    remedy: str

    @property
    def where(self) -> str:
        """Return file and place."""
        return " ".join(filter(None, (self.file, self.place)))


class Verdict:
    """What was found; it grows as files are read."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.counts: dict[str, int] = {}
        self.damages: list[Damage] = []
        self.more = 0  # damages beside those
        self.notes: list[str] = []

    @property
    def sound(self) -> bool:
        """Return whether nothing was found."""
        return not self.damages

    def count(self, what: str, number: int = 1) -> None:
        """Take note that so many were read."""
        self.counts[what] = self.counts.get(what, 0) + number

    def damage(self, file: str, place: str, what: str, remedy: str = BACKUP) -> None:
        """Take note of a damage."""
        if len(self.damages) < MOST:
            self.damages.append(Damage(file, place, what, remedy))
        else:
            self.more += 1

    @contextmanager
    def guard(self, file: str) -> Iterator[None]:
        """Take note of a damage that ends the reading of a file."""
        try:
            yield
        except (apsw.Error, msgspec.MsgspecError, Refused) as error:
            self.damage(file, "", told_of(error) if isinstance(error, apsw.Error) else str(error))
