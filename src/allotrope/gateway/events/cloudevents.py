"""CloudEvents at the door: one with its attributes in headers, one as JSON, or a batch.

An event's source and id are its request id: a repeated one has no second effect. All of a batch is read before any of
it is taken. Not here: the form itself (`connectors/cloudevents`), and what becomes of an event (`requests`).
"""

import asyncio
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from allotrope.connectors.cloudevents import structured
from allotrope.connectors.cloudevents.bindings import HTTP, MOST_IN_A_BATCH, is_batch, is_structured
from allotrope.connectors.cloudevents.event import CloudEvent
from allotrope.connectors.cloudevents.mapping import input_of, json_of, known
from allotrope.gateway.access.callers import Caller
from allotrope.gateway.link import Visit
from allotrope.gateway.offers import Offer
from allotrope.gateway.problems import Problem
from allotrope.gateway.service import Service
from allotrope.kernel.errors import Refused
from allotrope.runtime.tracing import check_traceparent

Headers = Mapping[bytes, bytes]


class Taken(NamedTuple):
    """One event that was read: what it means here, and what it holds."""

    event: CloudEvent
    offer: Offer
    given: Any
    joined: bool  # whether its request came under a trace of its own


class CloudEvents:
    """Takes CloudEvents for one gateway."""

    def __init__(self, service: Service) -> None:
        """Publish them through `service`, which knows the events of the app."""
        self.service = service
        self._kinds = {
            offer.event.__name__: offer for offer in service.titled.values() if offer.event is not None
        }

    def read(self, headers: Headers, body: bytes, caller: Caller) -> list[Taken] | Taken:
        """Return the event of a request, or those of a batch. Refused, or a Problem, when one is not to be taken."""
        media = headers.get(b"content-type", b"").decode("latin-1")
        if is_batch(media):
            structured.check_media(media)
            events = structured.batch_read(body, MOST_IN_A_BATCH)
            self.service.admission.charge(caller, max(len(events) - 1, 0))
            return [self._numbered(number, event, headers, caller) for number, event in enumerate(events)]
        if not (is_structured(media) or b"ce-specversion" in headers):
            text = f"this takes CloudEvents: send {structured.MEDIA}, or `ce-` headers; plain JSON goes to /events/KIND"
            raise Problem(415, "media", text)
        given = ((name.decode("latin-1"), value) for name, value in headers.items())
        return self._taken(HTTP.read(given, body), headers, caller)

    def _numbered(self, number: int, event: CloudEvent, headers: Headers, caller: Caller) -> Taken:
        try:
            return self._taken(event, headers, caller)
        except (Refused, Problem) as error:
            text = f"event {number} of the batch, of which nothing was taken: {error}"
            if isinstance(error, Problem):
                raise Problem(error.status, error.kind, text, error.retry_s) from None
            raise Refused(text) from None

    def _taken(self, event: CloudEvent, headers: Headers, caller: Caller) -> Taken:
        offer: Offer = known(event, self._kinds)
        self.service.admission.permit(caller, offer.title, 0)
        joined = check_traceparent(headers.get(b"traceparent", b"").decode("latin-1")) != ""
        return Taken(event, offer, self.service.read(offer, json_of(event)), joined)

    async def answer(self, taken: list[Taken] | Taken, visit: Visit, caller: Caller) -> Any:
        """Return the status of the event, or those of a batch. Raises what the first one met that was not taken."""
        if isinstance(taken, Taken):
            trace = _identify(taken.event, visit)
            if trace and not taken.joined:
                self.service.link.join(visit, trace)
            return await self.service.answer(taken.offer, taken.given, visit, caller)
        visits = [msgspec.structs.replace(visit) for _ in taken]
        for one, own in zip(taken, visits, strict=True):
            own.trace = _identify(one.event, own) or own.trace  # several have no parent in common
        if visit.span is not None:
            visit.span.links = tuple(own.trace for own in visits if own.trace != visit.trace)
        work = (
            self.service.answer(one.offer, one.given, own, caller)
            for one, own in zip(taken, visits, strict=True)
        )
        found = await asyncio.gather(
            *work, return_exceptions=True
        )  # they begin, and get their origins, in order
        for status in found:
            if isinstance(status, BaseException):
                raise status
        return found


def _identify(event: CloudEvent, visit: Visit) -> str:
    """Note on a visit what its event says of itself, and return the trace that it carries."""
    said = input_of(event, visit.tenant)
    visit.once, visit.at = said.request, said.at
    return said.traceparent
