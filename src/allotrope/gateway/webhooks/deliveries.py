"""Deliveries: sends each subscription its events, in the order of the log, one after the other.

Where it is in the log is kept in a file of its own; so after a crash the last one may be sent once more, under the same
id, and nothing is left out. What fails is tried again over hours, and what follows waits. Not here: HTTP (`post`).
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from allotrope.gateway.link import Link
from allotrope.gateway.webhooks.post import End, Post
from allotrope.gateway.webhooks.signing import Message, message
from allotrope.gateway.webhooks.states import Dead, State, keep, kept
from allotrope.gateway.webhooks.subscriptions import Subscription, read
from allotrope.kernel.errors import Refused
from allotrope.runtime.doors.graces import cancelled
from allotrope.storage.ports import Entry, Envelope

log = logging.getLogger("allotrope.webhooks")
LOOK_S = 1.0  # between two looks at the file of subscriptions
POLL_S = 0.2  # between two looks at the log
PAGE = 200


class Pace(msgspec.Struct, frozen=True):
    """How long after each failure an event is tried again; and for how long nothing may succeed."""

    waits_s: tuple[float, ...] = (5, 30, 120, 600, 1800, 3600, 7200, 14_400, 28_800)
    patience_s: float = 5 * 86_400.0


class Deliveries:
    """All subscriptions of one folder."""

    def __init__(
        self, link: Link, folder: Path, ident: Callable[[str], str], pace: Pace | None = None
    ) -> None:
        """Read the log behind `link`; `ident` makes the id of a message from the name of its event."""
        self.link, self.folder, self.ident, self.pace = link, folder, ident, pace or Pace()
        self._hooks: dict[str, Subscription] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._post = Post()

    async def run(self) -> None:
        """Deliver until cancelled; subscriptions that come or go are noticed within a second."""
        try:
            while True:
                try:
                    self._refresh()
                except Refused as error:  # half written by hand, perhaps: those that are known go on
                    log.warning("webhooks are not read again: %s", error)
                await asyncio.sleep(LOOK_S)
        finally:
            await cancelled(self._tasks.values())
            await self._post.close()

    def _refresh(self) -> None:
        found = {hook.name: hook for hook in read(self.folder).webhooks}
        for name in self._hooks.keys() - found.keys():
            self._tasks.pop(name).cancel()
        for name, hook in found.items():
            known, task = self._hooks.get(name), self._tasks.get(name)
            if task is not None and (task.done() or (known is not None and known.made != hook.made)):
                task.cancel()
                task = None
            if task is None:
                state = kept(self.folder, name)
                if state is None or state.made != hook.made or not state.disabled:
                    self._tasks[name] = asyncio.get_running_loop().create_task(self._serve(hook.made, name))
        self._hooks = found

    async def _serve(self, made: str, name: str) -> None:
        try:
            state = kept(self.folder, name)
            if state is None or state.made != made:
                state = State(made, await self.link.end())
                keep(self.folder, name, state)
            while not state.disabled:
                entries = await self.link.entries(state.position, PAGE)
                for entry in entries:
                    if not await self._passed(name, state, entry):
                        return
                if entries:
                    keep(self.folder, name, state)
                else:
                    await asyncio.sleep(POLL_S)
        except (OSError, Refused) as error:  # a full disk, say: it is begun again from where it was kept
            log.error("webhook %s stops for a while: %s", name, error)
            await asyncio.sleep(10 * LOOK_S)

    async def _passed(self, name: str, state: State, entry: Entry) -> bool:
        """Deliver an entry where it is wanted, and go on behind it; return whether anything more may be sent."""
        if _fits(self._hooks[name], entry.envelope) and (sent := self._message(entry.envelope)) is not None:
            await self._deliver(name, state, entry, sent)
            if state.disabled:
                return False
            state.position = entry.position + 1
            keep(self.folder, name, state)
        state.position = entry.position + 1
        return True

    def _message(self, envelope: Envelope) -> Message | None:
        try:
            value = self.link.value(envelope)
        except (
            KeyError,
            msgspec.ValidationError,
            Refused,
        ) as error:  # erased, or of a version that this one cannot read
            log.warning("%s is sent to no webhook: %s", envelope.name, error)
            return None
        return message(self.ident(envelope.name), envelope.kind, envelope.time or envelope.at, value)

    async def _deliver(self, name: str, state: State, entry: Entry, sent: Message) -> None:
        """Return once the receiver has it, or it is given up, or the subscription is."""
        while True:
            await asyncio.sleep(max(state.next - time.time(), 0.0))
            end = await self._post.send(self._hooks[name], sent, time.time())
            if end.good:
                state.failures, state.since, state.next, state.reason = 0, 0.0, 0.0, ""
                state.sent += 1
                return
            self._failed(name, state, entry, end)
            keep(self.folder, name, state)
            if state.disabled or not state.failures:
                return

    def _failed(self, name: str, state: State, entry: Entry, end: End) -> None:
        now = time.time()
        state.failures, state.since, state.reason = state.failures + 1, state.since or now, end.reason
        event = entry.envelope
        if end.status == 410 or now - state.since > self.pace.patience_s:
            gone = (
                "its receiver wants no more" if end.status == 410 else "nothing has got through for too long"
            )
            state.disabled = f"{gone}: {end.reason}"
            log.error("webhook %s is disabled at %s %s: %s", name, event.kind, event.name, state.disabled)
        elif state.failures > len(self.pace.waits_s):
            dead = Dead(entry.position, event.kind, event.name, now, end.reason)
            log.error("webhook %s gives up %s %s: %s", name, event.kind, event.name, end.reason)
            state.bury(dead)
            state.failures, state.next = 0, 0.0
        else:
            wait = self.pace.waits_s[state.failures - 1] * random.uniform(0.9, 1.1)
            state.next = now + max(wait, end.retry_s)
            log.warning("webhook %s failed, %s; again in %.0f s", name, end.reason, state.next - now)


def _fits(hook: Subscription, envelope: Envelope) -> bool:
    return (
        envelope.kind in hook.events
        and envelope.tenant == hook.tenant
        and (hook.key is None or envelope.key == hook.key)
    )
