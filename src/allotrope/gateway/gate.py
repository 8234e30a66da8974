"""The gate: an ASGI application over one host. It lets a request in, has it answered, and turns errors into problems.

Each step may end the request: who asks, what for, how much, how long, with what. Not here: what is found on which path
(`offers`), how an operation runs (`service`), sockets (`server`).
"""

import asyncio
from collections.abc import Mapping
from functools import cache
from time import perf_counter
from typing import Any

from allotrope.gateway.access.admission import Admission
from allotrope.gateway.access.callers import Caller
from allotrope.gateway.access.seals import Seals
from allotrope.gateway.events.cloudevents import CloudEvents
from allotrope.gateway.events.live import Live
from allotrope.gateway.link import Link, Visit
from allotrope.gateway.offers import RESERVED, Offer, offers_of, statuses_of
from allotrope.gateway.pages.asyncapi import asyncapi
from allotrope.gateway.pages.index import Page, Sources, pages_of
from allotrope.gateway.pages.metrics import Counters, exposition
from allotrope.gateway.pages.openapi import document
from allotrope.gateway.preferences import origin_of, preference
from allotrope.gateway.problems import MEDIA, Problem, problem_of
from allotrope.gateway.reads import found_in, reads_of
from allotrope.gateway.requests import Requests, Status
from allotrope.gateway.service import Service
from allotrope.gateway.streams import EVENTS, JSON, Receive, Reply, Send, Streams
from allotrope.gateway.values import to_json, without
from allotrope.kernel.errors import Expired, Lost, nearest
from allotrope.runtime.doors.deadlines import Deadlines

Scope = Mapping[str, Any]
Headers = dict[bytes, bytes]
Parts = dict[str, str]  # what parts of a path say, by name
ID_LENGTH = 128
_FOREVER = float("inf")
_LATER = ("command", "event", "cloudevents")  # what may be answered before its end


class Gate:
    """The ASGI application."""

    def __init__(
        self, link: Link, admission: Admission, seals: Seals, collectors: tuple[Any, ...] = ()
    ) -> None:
        """Offer what the plan has; `collectors` are shown under /metrics beside the gate's own counters."""
        self.link, self.admission = link, admission
        self.settings = link.plan.topology.gateway
        self.offers = offers_of(link.plan)
        self.statuses = statuses_of(link.plan)
        self.reads = reads_of(link.plan)
        self.service = Service(Requests(link, seals, self.statuses), self.offers, admission, self.statuses)
        self.live = Live(link, self.settings.connections // 2, self.settings.idle_s)
        self.cloudevents = CloudEvents(self.service)
        self.draining = False
        self._deadlines = Deadlines()
        self._largest = self.settings.body_kb * 1024
        self._cors = frozenset(origin.encode() for origin in self.settings.cors)
        self.streams = Streams(self._deadlines, self.statuses)
        turnstile = admission.turnstile
        self.counters = Counters(
            {
                "inflight": ("Requests in flight", lambda: turnstile.places - turnstile.free),
                "waiting": ("Requests that wait for a place", lambda: turnstile.waiting),
                "streams": ("Streams that are open", lambda: len(self.streams)),
            }
        )

        @cache
        def described(*, closed: bool) -> bytes:
            return to_json(
                document(link.plan.app.name, self.offers, self.statuses, self.reads, closed=closed)
            )

        @cache
        def channels(*, closed: bool) -> bytes:
            return to_json(asyncapi(link.plan, closed=closed))

        described(closed=admission.closed)
        sources = Sources(
            lambda: described(closed=admission.closed),
            lambda: channels(closed=admission.closed),
            exposition((*collectors, self.counters)),
            lambda: link.ready and not self.draining,
        )
        self.pages = pages_of(sources, self.settings.open)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        begun, path = perf_counter(), scope["path"]
        headers: Headers = dict(scope["headers"])
        offer, parts = self._found(scope["method"], path)
        title = offer.title if offer is not None else path if path in RESERVED else "unknown"
        request = _word(headers.get(b"x-request-id", b""))
        trace = headers.get(b"traceparent")
        patience_s = self.settings.deadline_s
        visit = self.link.visit(title, request, "" if trace is None else trace.decode("latin-1"), patience_s)
        try:
            reply = await self._replied(scope, headers, receive, (offer, parts, visit))
        except Exception as error:
            reply = self._problem(error, visit)
        reply.fields += ((b"x-request-id", visit.request.encode()), (b"traceparent", visit.trace.encode()))
        reply.fields += _placed(visit)
        if self._cors:
            reply.fields += self._cors_fields(headers)
        try:
            if reply.pieces is None:
                await _send(send, reply)
            else:
                try:
                    await self.streams.send(send, receive, reply, visit)
                finally:
                    if reply.caller is not None:
                        self.admission.leave(reply.caller)
        finally:
            self.counters.count(title, reply.status, perf_counter() - begun)
            self.link.ended(visit, "ok" if reply.status < 400 else str(reply.status))

    @property
    def inflight(self) -> int:
        """Return how many requests run."""
        return self.admission.turnstile.places - self.admission.turnstile.free

    def drain(self) -> None:
        """End the streams, which would not end by themselves; what else is in flight is finished."""
        self.draining = True
        self.streams.drain()
        self.live.close()

    # -- the steps

    def _found(self, method: str, path: str) -> tuple[Offer | None, Parts]:
        """Return what is offered at a path, with what parts of the path say."""
        offer = self.offers.get(path)
        if method == "GET" and offer is not None and offer.kind == "event":
            return self.reads[path], {}
        if offer is None and (found := found_in(self.reads, path)) is not None:
            return found
        return offer, {}

    async def _replied(
        self, scope: Scope, headers: Headers, receive: Receive, wanted: tuple[Offer | None, Parts, Visit]
    ) -> Reply:
        offer, parts, visit = wanted
        method, path = scope["method"], scope["path"]
        if method == "OPTIONS" and self._cors and b"access-control-request-method" in headers:
            return Reply(204)
        page = self.pages.get(path)
        if page is not None and page.open:
            return self._paged(page, method)
        caller = self.admission.known(headers) or await self.admission.proved(headers)
        visit.tenant = caller.tenant
        if page is not None:
            self.admission.permit(caller, page.title, 0)
            return self._paged(page, method)
        if offer is None:
            known = [known for known, one in self.offers.items() if caller.may(one.title)]
            raise Problem(404, "unknown", f"there is nothing at {path}. {nearest(path, known)}")
        if method not in offer.methods:
            raise _method(method, offer)
        if offer.kind in ("status", "cloudevents"):  # their scope is that of what was asked, or is told
            self.admission.charge(caller, 1)
        else:
            self.admission.permit(caller, offer.title, 1)
        if not self.link.ready:
            raise Problem(503, "overloaded", "it takes nothing any more; another one may", 1.0)
        visit.once = _once(headers)
        if (said := headers.get(b"prefer")) is not None:
            visit.prefer = preference(said, int(self.settings.deadline_s))
        if (seen := headers.get(b"allotrope-origin")) is not None:
            visit.after = _origin(seen)
        given = headers.get(b"x-deadline-ms")
        if given is not None:
            visit.until = perf_counter() + _patience(given, self.settings.deadline_s)
        elif offer.streams:
            visit.until = _FOREVER
        return await self._timed(scope, headers, receive, (offer, parts, visit, caller))

    def _paged(self, page: Page, method: str) -> Reply:
        if method not in ("GET", "HEAD"):
            found = Problem(405, "method", f"{page.title} is read with GET")
            found.headers = ((b"allow", b"GET, HEAD"),)
            raise found
        status, body = page.read()
        return Reply(status, body, page.media, [*page.fields])

    async def _timed(
        self, scope: Scope, headers: Headers, receive: Receive, wanted: tuple[Offer, Parts, Visit, Caller]
    ) -> Reply:
        """Return the reply, or cut it at the visit's deadline: 408 while its body comes in, 504 from then on."""
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        assert task is not None, "an ASGI server runs each request as a task"
        left = min(wanted[2].until - perf_counter(), self.settings.deadline_s)
        if left <= 0:
            raise Expired(f"{wanted[0].title}: the deadline had passed")
        before, stage = task.cancelling(), ["wait"]
        armed = self._deadlines.arm(loop.time() + left)
        try:
            return await self._let_in(scope, headers, receive, (*wanted, stage))
        except asyncio.CancelledError:
            if not armed.cut or task.uncancel() > before:
                raise
            if stage[0] == "read":
                raise Problem(408, "slow", "the body did not come in time") from None
            if stage[0] == "wait":
                raise Problem(503, "overloaded", "no place came free before the deadline", 1.0) from None
            raise Lost(f"{wanted[0].title}: cut at its deadline") from None
        finally:
            self._deadlines.disarm(armed)

    async def _let_in(
        self,
        scope: Scope,
        headers: Headers,
        receive: Receive,
        wanted: tuple[Offer, Parts, Visit, Caller, list[str]],
    ) -> Reply:
        offer, parts, visit, caller, stage = wanted
        await self.admission.enter(caller)
        kept = False
        try:
            stage[0] = "read"
            if scope["method"] == "GET":
                query = scope["query_string"]
                if "after" not in offer.names:
                    query, seen = without(query, b"after")
                    visit.after = visit.after if seen is None else _origin(seen)
                given = self.service.read_query(offer, query, parts)
            elif offer.kind == "cloudevents":
                given = self.cloudevents.read(headers, await self._bytes(headers, receive), caller)
            else:
                given = self.service.read(offer, await self._body(headers, receive))
            stage[0] = "run"
            if visit.until <= perf_counter():
                raise Expired(f"{offer.title}: the deadline passed")
            if offer.kind == "live":  # it holds no place: it waits, mostly
                visit.last = headers.get(b"last-event-id", b"").decode("latin-1")
                pieces = await self.live.opened(offer.title.partition(".")[2], given.key, visit)
                return Reply(200, media=EVENTS, pieces=pieces, fields=[])
            if offer.streams:
                kept = True
                pieces = self.service.pieces(offer, given, visit)
                return Reply(200, media=EVENTS, pieces=pieces, caller=caller)
            if offer.kind == "cloudevents":
                answer = await self.cloudevents.answer(given, visit, caller)
            else:
                answer = await self.service.answer(offer, given, visit, caller)
            return _answered(answer, visit, offer)
        finally:
            if not kept:
                self.admission.leave(caller)

    async def _body(self, headers: Headers, receive: Receive) -> bytes:
        body = await self._bytes(headers, receive)
        if body and not headers.get(b"content-type", b"").lower().startswith(JSON):
            raise Problem(415, "media", "a body here is JSON: send it with content-type: application/json")
        return body or b"{}"

    async def _bytes(self, headers: Headers, receive: Receive) -> bytes:
        length = headers.get(b"content-length", b"")
        if length and int(length) > self._largest:
            raise self._too_large()
        message = await receive()
        body: bytes = message.get("body", b"")
        if message.get("more_body"):
            parts, size = [body], len(body)
            while message.get("more_body"):
                message = await receive()
                parts.append(message.get("body", b""))
                size += len(parts[-1])
                if size > self._largest:
                    raise self._too_large()
            body = b"".join(parts)
        if message["type"] == "http.disconnect":
            raise Problem(400, "gone", "the client went before its body was complete")
        return body

    def _too_large(self) -> Problem:
        return Problem(413, "large", f"a body here has at most {self.settings.body_kb} KiB")

    def _problem(self, error: Exception, visit: Visit) -> Reply:
        problem = problem_of(error, visit, self.statuses)
        return Reply(problem.status, to_json(problem.body(visit.request)), MEDIA, problem.fields())

    def _cors_fields(self, headers: Headers) -> tuple[tuple[bytes, bytes], ...]:
        origin = headers.get(b"origin")
        if origin is None or not (b"*" in self._cors or origin in self._cors):
            return ((b"vary", b"origin"),)
        return (
            (b"access-control-allow-origin", origin),
            (b"vary", b"origin"),
            (b"access-control-allow-methods", b"GET, POST"),
            (b"access-control-allow-headers", _ALLOWED),
            (b"access-control-expose-headers", _SHOWN),
            (b"access-control-max-age", b"600"),
        )


_ALLOWED = (
    b"authorization, x-api-key, content-type, idempotency-key, x-request-id, x-deadline-ms, traceparent, prefer, "
    b"allotrope-origin, last-event-id"
)
_SHOWN = b"x-request-id, traceparent, retry-after, location, preference-applied, allotrope-origin"


async def _send(send: Send, reply: Reply) -> None:
    fields = [
        (b"content-type", reply.media), (b"content-length", b"%d" % len(reply.body)), *reply.fields,
    ]  # fmt: skip
    await send({"type": "http.response.start", "status": reply.status, "headers": fields})
    await send({"type": "http.response.body", "body": reply.body})


def _answered(answer: Any, visit: Visit, offer: Offer) -> Reply:
    """Return an answer; of a request that has not ended, where to look and when."""
    reply = Reply(200, to_json(answer), fields=[])
    if isinstance(answer, Status):
        waits = offer.kind in _LATER and not (answer.over and visit.prefer.wait_s is not None)
        reply.status = 202 if waits else 200
        if not answer.over:
            reply.fields.append((b"retry-after", b"1"))
    elif offer.kind == "cloudevents":  # a batch, all of it taken
        reply.status = 202
    if offer.kind == "status" and (applied := visit.prefer.applied()):
        reply.fields.append((b"preference-applied", applied))
    return reply


def _placed(visit: Visit) -> list[tuple[bytes, bytes]]:
    """Return where what was accepted is found, whether it has ended well or not."""
    found = [(b"allotrope-origin", b"%d" % max(visit.origins))] if visit.origins else []
    if visit.place:
        found.append((b"location", visit.place.encode()))
        if applied := visit.prefer.applied():
            found.append((b"preference-applied", applied))
    return found


def _method(method: str, offer: Offer) -> Problem:
    found = Problem(405, "method", f"{offer.title} is not asked with {method}")
    found.headers = ((b"allow", ", ".join(offer.methods).encode()),)
    return found


def _origin(given: bytes) -> int:
    """Return the origin that a caller wants to see the effects of."""
    if (found := origin_of(given)) is None:
        raise Problem(400, "header", "Allotrope-Origin is a number that came with an answer")
    return found


def _word(given: bytes) -> str:
    """Return a request id that may stand in headers, logs and traces, or "" for one that may not."""
    if not given or len(given) > ID_LENGTH or not given.isascii():
        return ""
    text = given.decode("ascii")
    return text if text.isprintable() else ""


def _once(headers: Headers) -> str:
    given = headers.get(b"idempotency-key")
    if given is None:
        return ""
    if not (word := _word(given)):
        raise Problem(400, "header", f"Idempotency-Key is 1 to {ID_LENGTH} printable ASCII characters")
    return word


def _patience(given: bytes, most: float) -> float:
    """Return the seconds that a caller still waits, by its header in milliseconds."""
    try:
        return min(float(int(given)) / 1000.0, most)
    except (ValueError, OverflowError):
        raise Problem(400, "header", "X-Deadline-Ms is the remaining time in whole milliseconds") from None
