"""An outflow: sends the events of one sink, in the order of the log. What was sent is noted when the broker has it.

So each is sent at least once, always under the same source and id. Not here: how a message looks (`cloudevents`).
"""

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import msgspec

from allotrope.connectors.cloudevents.bindings import Binding, Carried
from allotrope.connectors.cloudevents.mapping import outgoing, source_of
from allotrope.connectors.ports import Outlet, kept_up, log
from allotrope.kernel.errors import Refused
from allotrope.kernel.messages import Event
from allotrope.planning.topology import Sink
from allotrope.storage.ports import Entry, Log
from allotrope.storage.positions import position_at

AT_ONCE = 64
END = 1 << 62  # a time after all that there is
FIRST_S, MOST_S = 0.02, 0.5  # between two looks at a log in which there is nothing new


class Note(msgspec.Struct):
    """Up to where a sink has sent the log."""

    position: int


class Outflow:
    """Sends what one sink is to have."""

    def __init__(
        self, name: str, sink: Sink, opened: Callable[[], AbstractAsyncContextManager[Outlet]],
        binding: Binding, given: tuple[Log, str, Mapping[str, type[Event]], Path],
    ) -> None:  # fmt: skip
        """Send from a log, as the events of an app, what is among these types; note in this folder what was sent."""
        self.name, self.sink, self.binding = name, sink, binding
        self.log, app, self.kinds, folder = given
        self.source = sink.source or source_of(app)
        self.path = folder / f"sink-{name}.json"
        self.sent = 0
        self._opened = opened

    async def run(self) -> None:
        """Send events until cancelled."""
        await kept_up(f"sink {self.name}", self._session)

    async def begin(self) -> None:
        """Note where to begin, where nothing was sent yet: at what comes from now on, or with all that there is."""
        noted, end = self._noted(), await position_at(self.log, END)
        if noted is None:
            self._note(end if self.sink.start == "now" else 1)
        elif noted > end:
            text = "sink %s: has sent the log up to %d, which ends before %d: an older one was put back; going on there"
            log.warning(text, self.name, noted, end)
            self._note(end)

    async def _session(self) -> None:
        async with self._opened() as outlet:
            pause_s = FIRST_S
            while True:
                position = self._noted() or 1
                entries = await self.log.read(position, AT_ONCE)
                if not entries:
                    await asyncio.sleep(pause_s)
                    pause_s = min(2 * pause_s, MOST_S)
                    continue
                pause_s = FIRST_S
                await self._send(entries, outlet)
                self._note(entries[-1].position + 1)

    async def _send(self, entries: Sequence[Entry], outlet: Outlet) -> None:
        wanted = [entry for entry in entries if entry.envelope.kind in self.kinds]
        carried = [self._carried(entry) for entry in wanted]
        # They begin in order, and one connection keeps it; where one fails, all of them are sent again.
        sending = (outlet.send(one, entry.envelope.kind) for one, entry in zip(carried, wanted, strict=True))
        for ended in await asyncio.gather(*sending, return_exceptions=True):
            if isinstance(ended, BaseException):
                raise ended
        self.sent += len(wanted)

    def _carried(self, entry: Entry) -> Carried:
        envelope = entry.envelope
        try:
            event = outgoing(envelope, self.kinds[envelope.kind], self.source, entry.position)
        except (msgspec.MsgspecError, Refused) as error:
            raise Refused(
                f"entry {entry.position} of the log, {envelope.kind}, cannot be sent: {error}"
            ) from None
        structured = self.sink.form == "structured"
        return self.binding.structured(event) if structured else self.binding.binary(event)

    def _noted(self) -> int | None:
        try:
            return msgspec.json.decode(self.path.read_bytes(), type=Note).position
        except FileNotFoundError:
            return None
        except (OSError, msgspec.MsgspecError) as error:
            text = "delete it, and the sink begins anew as its `start` says"
            raise Refused(f"{self.path}: cannot be read: {error}; {text}") from None

    def _note(self, position: int) -> None:
        fresh = self.path.with_name(f".{self.path.name}")
        fresh.write_bytes(msgspec.json.encode(Note(position)))
        os.replace(fresh, self.path)
