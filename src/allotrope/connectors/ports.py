"""What a broker of somebody else has to be able to do, for events to come in from it or go out to it."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn, Protocol

import msgspec

from allotrope.connectors.cloudevents.bindings import Carried
from allotrope.kernel.errors import Refused
from allotrope.runtime.sites.backoff import Backoff

log = logging.getLogger("allotrope.connectors")
ANSWER_S = 10.0  # for how long a broker may think


class Away(Exception):
    """The broker cannot be reached, or has gone, or lacks what was named."""


class Arrived(msgspec.Struct, frozen=True):
    """A message that a broker has delivered and not yet been told to forget."""

    headers: tuple[tuple[str, str | bytes], ...]
    body: bytes
    media: str  # its content type
    ident: str  # its id, where its sender gave one
    route: str  # its routing key or topic
    handle: Any  # what the broker knows it by


class Inlet(Protocol):
    """One connection to a queue or topic. Every method raises Away."""

    async def next(self) -> Arrived:
        """Return the next message, once there is one."""

    async def acknowledge(self, arrived: Arrived) -> None:
        """Have the broker forget a message."""

    async def reject(self, arrived: Arrived, reason: str) -> None:
        """Put a message, with the reason, where those go that cannot be taken; then have the broker forget it."""


class Outlet(Protocol):
    """One connection to an exchange or topic."""

    async def send(self, carried: Carried, kind: str) -> None:
        """Return once the broker has a message. Away when that is not known."""


async def kept_up(what: str, session: Callable[[], Awaitable[Any]]) -> NoReturn:
    """Have a session at a broker again and again, after pauses that grow; what ends one is logged, each outage once."""
    backoff, told = Backoff(), ""
    while True:
        began = time.monotonic()
        try:
            await session()
        except (Away, Refused) as error:
            if (task := asyncio.current_task()) is not None and task.cancelling():
                raise asyncio.CancelledError from error  # a client's own answer to being cancelled
            if told != str(error):
                log.warning("%s: %s; trying again", what, error)
            told = str(error)
        except Exception:
            log.exception("%s: an error of the connector; trying again", what)
        lived_s = time.monotonic() - began
        if (pause_s := backoff.pause(lived_s)) == 0.0:
            told = ""
        await asyncio.sleep(pause_s or 0.1)
