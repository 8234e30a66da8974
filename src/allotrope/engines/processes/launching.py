"""Launching: how the process of a replica comes to be, with the threads, variables and GPUs that it may have.

Not here: when one is wanted (`fleet`), and what it does (`process`).
"""

import asyncio
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from allotrope.engines.processes.devices import Devices, environment
from allotrope.engines.processes.member import Member
from allotrope.engines.processes.nursery import Nursery, Process, threads
from allotrope.kernel.components import App
from allotrope.kernel.errors import Refused
from allotrope.planning.topology import Unit
from allotrope.storage.folders import appending
from allotrope.transports.frames.security import Credentials


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


class Launcher:
    """Starts processes: forked from a nursery that has imported the app, or by themselves where that cannot be."""

    def __init__(self, crew: Crew, images: Mapping[str, Unit]) -> None:
        """Start nothing yet. Nobody sees a GPU that was not lent to it, the nursery none at all."""
        self.crew, self.images = crew, images
        self.devices = Devices(crew.devices)
        self.nursery = Nursery(crew.command(""), crew.logs / "nursery.log", crew.files)

    async def launch(self, member: Member) -> Process:
        """Return the process of a replica. Overloaded when there is no GPU left for it."""
        crew, image = self.crew, self.images[member.unit]
        member.devices = self.devices.take(image.gpu)
        given = (member.unit, member.name, member.address)
        own = {**environment(member.devices, image.gpu), **crew.environment(member.unit, member.number)}
        log_file = crew.log(member.unit)
        # A library that was imported before the GPUs were named may have looked for them already.
        plain = not image.python and not image.app and image.cpu < 2 and not image.gpu
        if plain and (forked := await self.nursery.fork(given, own, log_file)) is not None:
            return forked
        inherited = {k: v for k, v in os.environ.items() if k != "PYTHONPATH" or not image.python}
        variables = {**inherited, **threads(max(1, int(image.cpu))), **own}
        with appending(log_file) as out:
            return await asyncio.create_subprocess_exec(
                *crew.command(image.python), *given, env=variables, stdin=asyncio.subprocess.DEVNULL,
                stdout=out, stderr=out, pass_fds=crew.files,
                start_new_session=True,  # Ctrl-C is for who has started us: the order of the end is theirs
            )  # fmt: skip

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
