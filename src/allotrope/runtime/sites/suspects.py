"""Suspects: deliveries in whose midst a process has ended. Who ends it time and again is found out, and given up.

Whoever was at work in a process that ends is suspected. From its second end on a suspect runs alone (`trials`), so that
it is not blamed for what another one does. Not here: sending it (`apart`), and its record (`effects`).
"""

from time import monotonic

import msgspec

from allotrope.kernel import codec
from allotrope.runtime.doors.limits import Gone
from allotrope.runtime.sites.wire import Sent

ENDS = 3  # of its process, before a delivery is parked; as many as attempts of one that raises
BESIDE = 2  # ends at which others may have been at work as well, before it runs alone
KILLED = 3  # ends by SIGKILL that count only where it was alone: whoever likes may send that one
HOLD_S, MOST_HOLD_S = 5.0, 60.0  # for how long others wait for a suspect; longer each time that was too short


class Suspect:
    """One delivery, from the first end of a process that ran it."""

    def __init__(self, sent: Sent) -> None:
        """Know of no end yet."""
        self.sent = sent
        self.ends = self.alone = self.killed = 0
        self.hold_s = HOLD_S
        self.ticket = 0  # to a process of its own, 0 without one
        self.given_up = ""
        self._until = 0.0

    @property
    def isolated(self) -> bool:
        """Return whether it has to run alone."""
        return self.ends >= BESIDE and not self.given_up

    def admitted(self, ticket: int) -> None:
        """Take note of the ticket that a process has given, 0 when it could not be had alone."""
        self.ticket, self._until = ticket, monotonic() + self.hold_s / 2

    def letter(self) -> bytes:
        """Return what to send next."""
        return codec.encode(
            msgspec.structs.replace(self.sent, ticket=self.ticket * self.isolated, given_up=self.given_up)
        )

    def saw(self, end: Gone) -> None:
        """Count the end of a process that had it, unless it was ended from our side."""
        alone, self.ticket = self.isolated and self.ticket > 0, 0
        if end.ours or self.given_up:
            return
        self.ends += 1
        if alone and monotonic() > self._until:  # others may have come in meanwhile
            alone, self.hold_s = False, min(2 * self.hold_s, MOST_HOLD_S)
        self.alone += alone
        self.killed += alone and end.killed
        if self.ends >= ENDS and self.alone and (self.alone > self.killed or self.killed >= KILLED):
            self.given_up = f"it ended its process {self.ends} times, at last alone there: {end}"
