"""What `run` and `serve` have in common: how a host is started, is told to stop, and is looked at meanwhile."""

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Callable
from pathlib import Path

from allotrope.kernel.errors import Refused
from allotrope.planning.plans import Plan
from allotrope.runtime.host import Host
from allotrope.runtime.telemetry.journal import JsonLines

INTERRUPTED = 130


def on_signals(say: Callable[[str], None]) -> asyncio.Event:
    """Return an event that the first signal sets; the second ends the process as it is."""
    stopping = asyncio.Event()

    def stop() -> None:
        if stopping.is_set():
            say("stopped at once")
            os._exit(INTERRUPTED)  # what it has started ends with it
        stopping.set()
        say("\nstopping: finishing what has begun; Ctrl-C again stops at once")

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    return stopping


async def started(host: Host, stopping: asyncio.Event) -> bool:
    """Start a host; return whether that came to its end before it was told to stop."""
    starting, told = asyncio.create_task(host.start()), asyncio.create_task(stopping.wait())
    await asyncio.wait((starting, told), return_when=asyncio.FIRST_COMPLETED)
    told.cancel()
    if starting.done():
        await starting
        return True
    starting.cancel()
    with contextlib.suppress(asyncio.CancelledError, Refused):
        await starting
    return False


def desk(host: Host, folder: Path) -> contextlib.AbstractAsyncContextManager[object]:
    """Return what opens the desk of a host, at which the verbs of events ask it, for as long as it is entered."""
    from allotrope.engines.desk import opened  # only here: a host that nobody can ask pays for no socket

    return opened(host, folder)


def keep_journal(plan: Plan, folder: Path) -> None:
    """Write the log lines of this process beside those of its units, if it has any: `allotrope logs` shows both."""
    if plan.apart:
        path = folder / "logs" / "host.log"
        path.touch(0o600)
        journal = logging.FileHandler(path, encoding="utf-8")
        journal.setFormatter(JsonLines("host"))
        logging.getLogger().addHandler(journal)
