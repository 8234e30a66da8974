"""Launching: of which release a replica is, and how its process comes to be, with its threads, variables and GPUs.

Not here: when one is wanted (`fleet`), and what it does (`process`).
"""

import asyncio
import logging
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from allotrope.engines.devices import Devices, environment
from allotrope.engines.processes.lines import Canary
from allotrope.engines.processes.member import BESIDE, Member
from allotrope.engines.processes.nursery import Nursery, Process, threads
from allotrope.kernel.components import App
from allotrope.kernel.errors import Refused
from allotrope.planning.topology import Unit
from allotrope.storage.folders import appending
from allotrope.transports.frames.security import Credentials

log = logging.getLogger("allotrope.fleet")
RELEASE, CANARY = "ALLOTROPE_RELEASE", "ALLOTROPE_CANARY"  # what a replica is told of itself


class Crew(msgspec.Struct, frozen=True):
    """How the processes of a fleet are started: `command` makes the command line of one."""

    command: Callable[[str], Sequence[str]]  # by interpreter, "" is this one; what follows says which replica
    environment: Callable[[str, int], Mapping[str, str]]  # unit, number of the replica
    run: Path  # sockets
    logs: Path
    credentials: Credentials
    files: tuple[int, ...] = ()  # sockets that the gateway serves; without them there is none
    devices: tuple[str, ...] = ()  # GPUs

    def log(self, unit: str) -> Path:
        """Return the file that the replicas of a unit write to."""
        return self.logs / f"{unit}.log"


def _plain(image: Unit) -> bool:
    # A library that was imported before the GPUs were named may have looked for them already.
    return not image.python and not image.app and image.cpu < 2 and not image.gpu


class Releases:
    """What the replicas of each unit are started from: also those that end and come back."""

    def __init__(self, units: Iterable[str], newest: int) -> None:
        """Have one of all."""
        self.settled = dict.fromkeys(units, newest)
        self.canaries: dict[str, Canary] = {}
        self.beside: dict[str, int] = {}  # unit -> replicas of its canary

    def of(self, unit: str, number: int) -> int:
        """Return the release of a place among the replicas of a unit."""
        return self.canaries[unit].release if number > BESIDE else self.settled[unit]

    def needs(self, unit: str, number: int) -> bool:
        """Return whether a place of a canary is wanted."""
        return number - BESIDE <= self.beside.get(unit, 0)

    def used(self) -> set[int]:
        """Return the releases that something may yet be started from."""
        return {*self.settled.values(), *(canary.release for canary in self.canaries.values())}


class Launcher:
    """Starts processes: forked from a nursery that has imported the app, or by themselves where that cannot be."""

    def __init__(self, crew: Crew, images: Mapping[str, Unit]) -> None:
        """Start nothing yet. Nobody sees a GPU that was not lent to it, the nursery none at all."""
        self.crew, self.images = crew, images
        self.devices = Devices(crew.devices)
        self._numbers = crew.run.parent / "release"
        known = self._numbers.read_text() if self._numbers.exists() else ""
        newest = self._numbered(int(known or 0) + 1)
        self.nursery = Nursery(crew.command(""), crew.logs / "nursery.log", crew.files, newest)

    def renew(self) -> int:
        """Return a new release: the code as it is now."""
        return self._numbered(self.nursery.renew())

    def _numbered(self, release: int) -> int:
        """Keep a number, so that none is ever given again in the folder of an app: decision records name it."""
        fresh = self._numbers.with_name(".release")
        fresh.write_text(str(release))
        fresh.replace(self._numbers)
        return release

    async def launch(self, member: Member) -> Process:
        """Return the process of a replica. Overloaded when there is no GPU left for it."""
        crew, image = self.crew, self.images[member.unit]
        member.devices = self.devices.take(image.gpu)
        given = (member.unit, member.name, member.address)
        own = {**environment(member.devices, image.gpu), **crew.environment(member.unit, member.number)}
        if member.beside:
            own[CANARY] = "1"
        log_file, wanted = crew.log(member.unit), member.release
        for release in dict.fromkeys((wanted, self.nursery.newest)) if _plain(image) else ():
            told = {**own, RELEASE: str(release)}
            if (forked := await self.nursery.fork(given, told, log_file, release)) is not None:
                self._mark(member, release)
                return forked
        self._mark(member, wanted if member.beside else self.nursery.newest)
        own[RELEASE] = str(member.release)
        inherited = {k: v for k, v in os.environ.items() if k != "PYTHONPATH" or not image.python}
        variables = {**inherited, **threads(max(1, int(image.cpu))), **own}
        with appending(log_file) as out:
            return await asyncio.create_subprocess_exec(
                *crew.command(image.python), *given, env=variables, stdin=asyncio.subprocess.DEVNULL,
                stdout=out, stderr=out, pass_fds=crew.files,
                start_new_session=True,  # Ctrl-C is for who has started us: the order of the end is theirs
            )  # fmt: skip

    def forks(self, unit: str, release: int) -> bool:
        """Return whether a replica that ends comes back with the very code of its release, as far as is known."""
        return _plain(self.images[unit]) and self.nursery.fit(release)

    def _mark(self, member: Member, release: int) -> None:
        if release != member.release:
            words = (
                "%s is started from the code as it is now, release %d: release %d cannot be forked any more"
            )
            log.warning(words, member.name, release, member.release)
            member.release = release

    def clear(self, member: Member) -> None:
        """Take back what a replica had, once it has ended."""
        self.devices.give(member.devices, self.images[member.unit].gpu)
        member.devices = ()
        member.forget()


def named(app: App) -> str:
    """Return where an app can be imported from, as `module:variable`. Refused when it is in no module."""
    for name, module in sorted(sys.modules.items(), key=lambda item: item[0] == "__main__"):
        for variable, value in list(getattr(module, "__dict__", {}).items()):
            started = getattr(module, "__spec__", None)  # of `python -m`: what it was started as
            title = started.name if name == "__main__" and started is not None else name
            if value is app and title != "__main__":
                return f"{title}:{variable}"
    raise Refused(
        f"app {app.name} is in no module that its units could import; put `app = App(...)` into a file"
    )
