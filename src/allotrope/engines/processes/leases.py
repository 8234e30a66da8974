"""Leases: which replica of a unit holds which partition, and under which epoch. It is decided here and nowhere else.

Each partition has one holder at most, whatever a replica itself believes: what one has missed that it lost, the ledger
fences off by the epoch. Not here: which replicas there are, and when somebody has to look again (`fleet`).
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from time import time_ns
from typing import Protocol

import msgspec

from allotrope.engines.processes.lines import Canary
from allotrope.kernel import codec
from allotrope.kernel.errors import Failed, Lost, Refused
from allotrope.runtime.doors.graces import WORK_S
from allotrope.storage.ports import Fenced
from allotrope.transports.frames.errors import RemoteError

log = logging.getLogger("allotrope.fleet")
STALLED_S = 0.5  # a claim is one small write
HASTE_S = 1.0  # the same for one that is not ready: others wait for what it holds
BACK_S = 1000.0  # by how much a clock is taken to have gone back, and by ten times that when it was more


def shared_out(partitions: range, holders: Mapping[int, str], names: tuple[str, ...]) -> dict[int, str]:
    """Return who should hold each partition: evenly many each, and as few as possible in other hands than before."""
    if not names:
        return {}
    most = -(-len(partitions) // len(names))
    loads = dict.fromkeys(names, 0)
    placed: dict[int, str] = {}
    for partition in partitions:
        holder = holders.get(partition, "")
        if holder in loads and loads[holder] < most:
            placed[partition] = holder
            loads[holder] += 1
    for partition in partitions:
        if partition not in placed:
            name = min(names, key=loads.__getitem__)
            placed[partition] = name
            loads[name] += 1
    least = len(partitions) // len(names)
    for name in names:  # one that has just come takes its part from those with the most
        while loads[name] < least:
            giver = max(names, key=loads.__getitem__)
            partition = max(p for p, held in placed.items() if held == giver)
            placed[partition] = name
            loads[giver] -= 1
            loads[name] += 1
    return placed


class Leases(msgspec.Struct, frozen=True):
    """Who holds each partition of a unit: a value. `epoch` is the newest that was given out."""

    partitions: int
    epoch: int
    holders: Mapping[int, str] = {}
    back_s: float = BACK_S

    def of(self, name: str) -> frozenset[int]:
        """Return what a replica holds."""
        return frozenset(partition for partition, holder in self.holders.items() if holder == name)

    def due(self, able: Sequence[str], newer: Sequence[str] = (), taken: int = 0) -> dict[int, str]:
        """Return who should hold each partition that is not where it should be; `able` may hold some.

        The last ones, `taken` in number, are for those of `able` that are `newer`; for all, when either side is empty.
        """
        older = tuple(name for name in able if name not in newer)
        first = self.partitions - taken if older and newer else self.partitions
        placed = shared_out(range(first), self.holders, older or tuple(newer))
        placed |= shared_out(range(first, self.partitions), self.holders, tuple(newer))
        return {p: name for p, name in placed.items() if self.holders.get(p) != name}

    def without(self, partitions: Iterable[int]) -> "Leases":
        """Return them with some held by nobody."""
        gone = set(partitions)
        holders = {p: holder for p, holder in self.holders.items() if p not in gone}
        return msgspec.structs.replace(self, holders=holders)

    def later(self) -> "Leases":
        """Return them with a new epoch for the next claim."""
        return msgspec.structs.replace(self, epoch=self.epoch + 1)

    def claimed(self, name: str, partitions: Iterable[int]) -> "Leases":
        """Return them after a claim that was granted."""
        holders = {**self.holders, **dict.fromkeys(partitions, name)}
        return msgspec.structs.replace(self, holders=holders, back_s=BACK_S)

    def fenced(self) -> "Leases":
        """Return them after a claim under an epoch that was too low: a clock went back since the last fleet."""
        epoch = self.epoch + int(self.back_s * 1e6)
        return msgspec.structs.replace(self, epoch=epoch, back_s=10 * self.back_s)


class Holder(Protocol):
    """A replica, as whoever gives it partitions knows it."""

    @property
    def name(self) -> str:
        """Return a name that no other ever has."""

    @property
    def release(self) -> int:
        """Return what it was started from."""

    @property
    def up(self) -> bool:
        """Return whether it can be reached."""

    @property
    def ready(self) -> bool:
        """Return whether it does what it is asked for."""

    @property
    def able(self) -> bool:
        """Return whether it may be given partitions."""

    async def ask(self, method: str, letter: bytes, timeout_s: float | None = None) -> None:
        """Have it `release` or `claim`; raise what it answers with."""


class Lessor:
    """Shares the partitions of one unit out among its replicas, one change after the other."""

    def __init__(self, partitions: int, publish: Callable[[], None]) -> None:
        """Give nothing to anybody yet; `publish` tells everybody who holds what by now."""
        self.leases = Leases(partitions, time_ns() // 1000)
        self.lock = asyncio.Lock()  # holds while holders change
        self.canary: Canary | None = None  # whose release takes partitions of its own
        self.stalled: Callable[[], None] = lambda: None  # called when a claim takes long
        self._publish = publish

    async def settle(self, there: Callable[[], Sequence[Holder]]) -> bool:
        """Bring every partition to who should hold it. False when some have no holder yet: try it again soon."""
        async with self.lock:
            due = self._due(there())
            losing = [(member, self.leases.of(member.name) & due.keys()) for member in there()]
            self.leases = self.leases.without(due)
            self._publish()  # first: nothing more is sent to who had them
            await asyncio.gather(*(_released(member, given) for member, given in losing if given))
            for member in there():
                taken = [partition for partition, name in due.items() if name == member.name]
                if taken and member.able:
                    await self._claim(member, taken)
            self._publish()
            return not self._due(there())

    def _due(self, there: Sequence[Holder]) -> dict[int, str]:
        able = [member for member in there if member.able]
        names, canary = [member.name for member in able], self.canary
        if canary is None or canary.share == 1:
            return self.leases.due(names)
        newer = [member.name for member in able if member.release == canary.release]
        return self.leases.due(names, newer, canary.taken)

    async def _claim(self, member: Holder, taken: Sequence[int]) -> None:
        self.leases = self.leases.later()
        letter = codec.encode(dict.fromkeys(taken, self.leases.epoch))
        stalled = asyncio.get_running_loop().call_later(STALLED_S, self.stalled)
        error = await _asked(member, "claim", letter, WORK_S)
        stalled.cancel()
        if error is None:
            self.leases = self.leases.claimed(member.name, taken)
        elif isinstance(error, Fenced):
            self.leases = self.leases.fenced()


async def _released(member: Holder, given: Iterable[int]) -> None:
    """Have a replica end what it runs there. If it does not, it commits nothing: who comes next has a later epoch."""
    if member.up:
        await _asked(member, "release", codec.encode(tuple(given)), WORK_S if member.ready else HASTE_S)


async def _asked(member: Holder, method: str, letter: bytes, timeout_s: float) -> Exception | None:
    """Return what went wrong, None when nothing did."""
    try:
        await member.ask(method, letter, timeout_s)
    except (Refused, Lost, Failed, RemoteError, OSError) as error:
        log.warning("%s did not %s: %s", member.name, method, error)
        return error
    return None
