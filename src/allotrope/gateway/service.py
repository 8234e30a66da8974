"""The service: runs what is offered. Arguments from bytes, then a query, a command, an event, or several together.

Several together end each by itself: the answer holds a status for every part. HTTP and gRPC both come here. Not here:
who may ask (`access`), what an error looks like (`problems`).
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Coroutine, Mapping
from time import perf_counter
from typing import Any

import msgspec

from allotrope.gateway.access.admission import Admission
from allotrope.gateway.access.callers import Caller
from allotrope.gateway.link import Visit
from allotrope.gateway.offers import Called, Offer
from allotrope.gateway.problems import Problem, problem_of
from allotrope.gateway.requests import MARGIN_S, Requests, Status
from allotrope.gateway.values import from_query, unfit
from allotrope.kernel.errors import Refused, nearest

MOST_PARTS = 32


class Part(msgspec.Struct, omit_defaults=True):
    """How one of several ended."""

    status: int
    body: Any = msgspec.UNSET
    problem: Any = msgspec.UNSET


class Service:
    """Runs the offers of one gateway."""

    def __init__(
        self,
        requests: Requests,
        offers: Mapping[str, Offer],
        admission: Admission,
        statuses: Mapping[str, int],
    ) -> None:
        """Run them over the link of `requests`."""
        self.requests, self.link, self.admission, self.statuses = requests, requests.link, admission, statuses
        self.settings = self.link.plan.topology.gateway
        self.titled = {offer.title: offer for offer in offers.values()}

    def read(self, offer: Offer, body: bytes) -> Any:
        """Return what a body asks. Problem 400 when it is no JSON; Refused when it does not fit."""
        try:
            return offer.read(body)
        except msgspec.ValidationError as error:
            raise unfit(error, offer.title, offer.names) from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Problem(400, "malformed", f"this is no JSON: {error}") from None

    def read_query(self, offer: Offer, query: bytes, more: Mapping[str, str]) -> Any:
        """Return what a query string asks, and `more` from elsewhere. Refused when it does not fit."""
        try:
            return from_query(query, offer.shape, more)
        except msgspec.ValidationError as error:
            raise unfit(error, offer.title, offer.names) from None

    async def answer(self, offer: Offer, given: Any, visit: Visit, caller: Caller) -> Any:
        """Return the answer to what `read` has returned."""
        if offer.kind == "query":
            await self._level(offer.title, visit)
            return await self.link.asked(_operation(offer), msgspec.structs.astuple(given), visit)
        if offer.kind == "command":
            return await self.requests.command(_operation(offer), msgspec.structs.astuple(given), visit)
        if offer.kind == "event":
            assert offer.event is not None
            event = offer.event(**{name: getattr(given, name) for name in offer.names})
            return await self.requests.event(event, visit)
        if offer.kind == "view":
            assert offer.view is not None
            await self._level(offer.title, visit)
            return await self.link.read(offer.view, given.key, given.at, visit)
        if offer.kind == "status":
            return await self.requests.status(given.id, visit, caller)
        if offer.kind == "facade":
            return await self._facade(offer, given, visit, caller)
        return await self._bundle(given, visit, caller)

    async def pieces(self, offer: Offer, given: Any, visit: Visit) -> AsyncGenerator[Any, None]:
        """Yield the pieces of a streaming query."""
        await self._level(offer.title, visit)
        asked = self.link.pieces(_operation(offer), msgspec.structs.astuple(given), visit)
        async with contextlib.aclosing(asked) as pieces:
            async for piece in pieces:
                yield piece

    async def _level(self, title: str, visit: Visit) -> None:
        """Return once what is read covers the origin that the caller wants to see. Problem 504 when that takes long."""
        if visit.after <= 0:
            return
        left = min(visit.until - perf_counter(), self.settings.deadline_s) - MARGIN_S
        try:
            async with asyncio.timeout(max(left, 0.0)):
                await self.link.inputs.covered(visit.after, title)
        except Refused as error:
            raise Problem(409, "origin", str(error)) from None
        except TimeoutError:
            text = f"what {title} reads does not cover origin {visit.after} yet; ask again later"
            raise Problem(504, "behind", text, 1.0) from None

    async def _facade(self, offer: Offer, given: Any, visit: Visit, caller: Caller) -> dict[str, Part]:
        self.admission.charge(caller, len(offer.parts) - 1)
        told = {name: value for name in offer.names if (value := getattr(given, name)) is not msgspec.UNSET}

        async def run(part: Offer) -> Any:
            shape = part.shape(**{name: value for name, value in told.items() if name in part.names})
            return await self.answer(part, shape, _within(visit, part.title), caller)

        parts = (self._part(run(part), visit) for part in offer.parts)
        return dict(zip((part.title for part in offer.parts), await asyncio.gather(*parts), strict=True))

    async def _bundle(self, given: dict[str, Called], visit: Visit, caller: Caller) -> dict[str, Part]:
        if len(given) > MOST_PARTS:
            raise Problem(422, "refused", f"a bundle has at most {MOST_PARTS} parts; send two")
        self.admission.charge(caller, len(given) - 1)

        async def run(name: str, called: Called) -> Any:
            offer = self.titled.get(called.call)
            if offer is None or offer.operation is None:
                known = [t for t, one in self.titled.items() if one.operation is not None and caller.may(t)]
                raise Problem(404, "unknown", f"no operation `{called.call}`. {nearest(called.call, known)}")
            self.admission.permit(caller, offer.title, 0)
            if offer.streams:
                raise Problem(422, "refused", f"{offer.title} answers in pieces; ask for it alone")
            return await self.answer(
                offer, self.read(offer, bytes(called.data)), _within(visit, name), caller
            )

        parts = (self._part(run(name, called), visit) for name, called in given.items())
        return dict(zip(given, await asyncio.gather(*parts), strict=True))

    async def _part(self, work: Coroutine[Any, Any, Any], visit: Visit) -> Part:
        try:
            answer = await work
            return Part(202 if isinstance(answer, Status) else 200, answer)
        except Exception as error:
            problem = problem_of(error, visit, self.statuses)
            return Part(problem.status, problem=problem.body(visit.request))


def _operation(offer: Offer) -> Any:
    return offer.operation


def _within(visit: Visit, name: str) -> Visit:
    """Return the visit of one part: a command in it has an id of its own, made of the caller's."""
    return msgspec.structs.replace(visit, once=f"{visit.once}/{name}" if visit.once else "")
