"""Requests: what becomes of commands and events that were accepted. Who waits how long, and what can be asked later.

Under a topology that replies once the log has an input, a command is answered 202 with a place to look at; elsewhere
when its caller prefers that. Not here: the ids of requests (`access/seals.py`), the answer of a query (`service`).
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from time import perf_counter
from typing import Any, Literal
from urllib.parse import quote

import msgspec

from allotrope.gateway.access.callers import Caller
from allotrope.gateway.access.seals import Seals, Ticket
from allotrope.gateway.link import Link, Visit
from allotrope.gateway.problems import Problem, problem_of
from allotrope.kernel.messages import Event
from allotrope.kernel.operations import Operation
from allotrope.runtime.intake.inputs import Receipt

PLACE = "/requests/"
FOREVER_S = 1 << 30
MARGIN_S = 0.05  # of a deadline, in which an answer still gets out


class Status(msgspec.Struct):
    """How far an accepted request has come. `settled`: all that it has led to is done as well."""

    id: str
    asked: str
    origin: int
    state: Literal["accepted", "running", "waiting", "done", "failed", "parked"]
    settled: bool
    waits: str | msgspec.UnsetType = msgspec.UNSET  # for what
    answer: Any = msgspec.UNSET
    problem: Any = msgspec.UNSET

    @property
    def over(self) -> bool:
        """Return whether it has ended."""
        return self.state in ("done", "failed", "parked")

    @property
    def place(self) -> str:
        """Return the path at which it is found."""
        return PLACE + quote(self.id)


class Requests:
    """The accepted requests of one gateway."""

    def __init__(self, link: Link, seals: Seals, statuses: Mapping[str, int]) -> None:
        """Tell of them under ids that `seals` makes."""
        self.link, self._seals, self._statuses = link, seals, statuses
        self.later = link.plan.topology.reply == "accepted"

    async def command(self, operation: Operation, arguments: tuple[Any, ...], visit: Visit) -> Any:
        """Return the answer of a command, or its status when it has none by the time its caller waits for."""
        receipt = await self.link.told(operation, arguments, visit)
        patience = visit.prefer.patience_s
        if patience is None and self.later:
            patience = FOREVER_S if visit.waits else 0
        if patience is None:
            await self.link.inputs.replied(receipt)
            return await self.link.inputs.answer(receipt)
        visit.place = self._status(receipt, operation.title, visit).place
        if await self._waited(receipt, self.link.inputs.replied, patience, visit):
            return await self.link.inputs.answer(receipt)
        return await self._seen(receipt, operation.title, visit)

    async def event(self, event: Event, visit: Visit) -> Status:
        """Return the status of an event that was accepted."""
        receipt = await self.link.published(event, visit)
        title, patience = f"events.{receipt.envelope.kind}", visit.prefer.patience_s
        found = self._status(receipt, title, visit)
        visit.place = found.place
        if patience is None:
            await self.link.inputs.published(receipt)
        elif not await self._waited(receipt, _ended, patience, visit):
            return await self._seen(receipt, title, visit)
        if receipt.flow is None or receipt.flow.over:
            return await self._seen(receipt, title, visit) if self.link.parked else _done(found)
        return found

    async def status(self, ident: str, visit: Visit, caller: Caller) -> Status:
        """Return how far a request has come, at its end or as soon as its caller has waited long enough.

        Problem 404 where nothing is known of it, or it is another's.
        """
        ticket = self._seals.opened(ident, visit.tenant)
        if ticket is None or not caller.may(title := _title(ticket)):
            raise _unknown()
        receipt = self.link.receipt(ticket.origin, ticket.kind, ticket.request, visit)
        found = await self._seen(receipt, title, visit)
        wait, end = visit.prefer.wait_s, self.link.inputs.replied if "." in ticket.kind else _ended
        if not found.over and wait and await self._waited(receipt, end, wait, visit):
            return await self._seen(receipt, title, visit)
        return found

    async def _seen(self, receipt: Receipt, title: str, visit: Visit) -> Status:
        inputs, found = self.link.inputs, self._status(receipt, title, visit)
        standing = await inputs.standing(receipt)
        if standing is None:
            raise _unknown()
        found.state, found.settled = standing.state, standing.settled
        found.waits = standing.waits or msgspec.UNSET
        if standing.outcome is not None:
            try:
                found.answer = inputs.opened(receipt.envelope.kind, standing.outcome)
            except Exception as error:
                problem = problem_of(error, visit, self._statuses)
                found.state, found.problem = "failed", problem.body(visit.request)
        return found

    def _status(self, receipt: Receipt, title: str, visit: Visit) -> Status:
        envelope = receipt.envelope
        ticket = Ticket(receipt.origin, envelope.kind, envelope.request)
        ident = self._seals.sealed(ticket, visit.tenant)
        return Status(ident, title, receipt.origin, "accepted", settled=False)

    async def _waited(
        self, receipt: Receipt, end: Callable[[Receipt], Awaitable[None]], patience_s: float, visit: Visit
    ) -> bool:
        """Return whether a request has ended before its caller or its deadline is out of patience."""
        self.link.let_go(receipt)
        flow = receipt.flow
        if flow is None or flow.over:
            return True
        left = min(patience_s, visit.until - perf_counter() - MARGIN_S)
        if left <= 0:
            return False
        try:
            async with asyncio.timeout(left):
                await end(receipt)
        except TimeoutError:
            return False
        return True


def _done(found: Status) -> Status:
    found.state, found.settled = "done", True
    return found


async def _ended(receipt: Receipt) -> None:
    if receipt.flow is not None:
        await receipt.flow.ended()


def _title(ticket: Ticket) -> str:
    return ticket.kind if "." in ticket.kind else f"events.{ticket.kind}"


def _unknown() -> Problem:
    return Problem(404, "unknown", "there is no such request of yours, or it is older than a day")
