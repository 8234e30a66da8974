"""The gRPC server: the same proof, scopes, limits, deadlines and errors as over HTTP, in gRPC's words.

An error is a status with `google.rpc` details: ErrorInfo names the problem, its metadata holds the request and a
fault's fields; RetryInfo says when to come back. Source: google.rpc, grpc/doc/statuscodes.md.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Iterable
from pathlib import Path
from time import perf_counter
from typing import Any

import grpc
import grpc.aio
import msgspec
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from allotrope.gateway.access.admission import check_reach
from allotrope.gateway.access.callers import Caller
from allotrope.gateway.gate import ID_LENGTH, Gate
from allotrope.gateway.link import Visit
from allotrope.gateway.preferences import origin_of, preference
from allotrope.gateway.problems import Problem, problem_of
from allotrope.gateway.requests import Status
from allotrope.gateway.rpc.contract import Contract, Method
from allotrope.gateway.values import unfit
from allotrope.kernel.errors import Expired, Lost, Refused

Context = Any  # grpc.aio's own class is generic in what it never shows
_CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT, 401: grpc.StatusCode.UNAUTHENTICATED, 403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND, 408: grpc.StatusCode.DEADLINE_EXCEEDED, 413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    422: grpc.StatusCode.INVALID_ARGUMENT, 429: grpc.StatusCode.RESOURCE_EXHAUSTED, 500: grpc.StatusCode.INTERNAL,
    503: grpc.StatusCode.UNAVAILABLE, 504: grpc.StatusCode.DEADLINE_EXCEEDED,
}  # fmt: skip
_DETAILS = "grpc-status-details-bin"
_SPARE_S = 3600.0 * 24  # a deadline beyond this is none


class RpcServer:
    """A gate's offers on a gRPC port."""

    def __init__(self, gate: Gate) -> None:
        """Describe them; nothing listens yet."""
        self.gate = gate
        self.contract = Contract(gate.link.plan.app.name, gate.offers.values())
        largest = gate.settings.body_kb * 1024
        self._server = grpc.aio.server(
            options=(
                ("grpc.max_receive_message_length", largest),
                ("grpc.max_metadata_size", 64 * 1024),
                ("grpc.so_reuseport", 0),
                ("grpc.keepalive_time_ms", 60_000),
            ),
            maximum_concurrent_rpcs=gate.settings.connections,
        )
        self._server.add_generic_rpc_handlers((_Handlers(self._handlers()),))

    async def listen(self, host: str, port: int) -> int:
        """Listen, and return the port. Refused when it is taken, or beyond this machine without keys."""
        check_reach(host, closed=self.gate.admission.closed)
        where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        certificate = self.gate.settings.certificate
        try:
            if certificate:
                public, private = (_read(name) for name in certificate)
                credentials = grpc.ssl_server_credentials([(private, public)])
                bound = self._server.add_secure_port(where, credentials)
            else:
                bound = self._server.add_insecure_port(where)
        except RuntimeError:
            raise Refused(
                f"--grpc {port}: this port cannot be had; choose another, or 0 for a free one"
            ) from None
        await self._server.start()
        return bound

    async def stop(self, grace_s: float) -> None:
        """Take no more, finish what is in flight."""
        await self._server.stop(grace_s)

    def _handlers(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for path, method in self.contract.methods.items():
            make = (
                grpc.unary_stream_rpc_method_handler
                if method.offer.streams
                else grpc.unary_unary_rpc_method_handler
            )
            found[path] = make(self._streaming(method) if method.offer.streams else self._single(method))
        return found

    def _single(self, method: Method) -> Callable[[bytes, Context], Any]:
        async def answer(data: bytes, context: Context) -> bytes:
            begun, visit, status = perf_counter(), self._visit(method, context), 200
            admission = self.gate.admission
            try:
                async with asyncio.timeout(visit.until - perf_counter()):
                    caller = await self._let_in(method, visit, context)
                    try:
                        given = self._read(method, data)
                        done = await self.gate.service.answer(method.offer, given, visit, caller)
                    finally:
                        admission.leave(caller)
                await context.send_initial_metadata(_metadata(visit))
                return self._written(method, done, visit)
            except Exception as error:
                status = self._failed(error, visit, context)
                return b""
            finally:
                self._count(method, status, begun, visit)

        return answer

    def _streaming(self, method: Method) -> Callable[[bytes, Context], Any]:
        async def answer(data: bytes, context: Context) -> AsyncGenerator[bytes, None]:
            begun, visit, status = perf_counter(), self._visit(method, context), 200
            try:
                caller = await self._let_in(method, visit, context)
                try:
                    given = self._read(method, data)
                    await context.send_initial_metadata(_metadata(visit))
                    async with contextlib.aclosing(
                        self.gate.service.pieces(method.offer, given, visit)
                    ) as pieces:
                        async for piece in pieces:
                            yield self.contract.written(method, piece)
                finally:
                    self.gate.admission.leave(caller)
            except Exception as error:
                status = self._failed(error, visit, context)
            finally:
                self._count(method, status, begun, visit)

        return answer

    # -- the steps

    def _visit(self, method: Method, context: Context) -> Visit:
        headers = _headers(context)
        remaining = context.time_remaining()
        patience = remaining if remaining is not None and remaining < _SPARE_S else float("inf")
        if not method.offer.streams:
            patience = min(patience, self.gate.settings.deadline_s)
        request = headers.get(b"x-request-id", b"").decode("latin-1")
        trace = headers.get(b"traceparent", b"").decode("latin-1")
        visit = self.gate.link.visit(
            method.offer.title, request if len(request) <= ID_LENGTH else "", trace, patience
        )
        visit.waits = True  # a call waits for its answer, unless its metadata says otherwise
        return visit

    async def _let_in(self, method: Method, visit: Visit, context: Context) -> Caller:
        """Return who asks, once there is a place for the call; it has to be given back."""
        admission, headers = self.gate.admission, _headers(context)
        if not self.gate.link.ready or self.gate.draining:
            raise Problem(503, "overloaded", "shutting down; come back later", 1.0)
        caller = admission.known(headers) or await admission.proved(headers)
        visit.tenant = caller.tenant
        visit.once = headers.get(b"idempotency-key", b"").decode("latin-1")
        if len(visit.once) > ID_LENGTH or not visit.once.isprintable():
            raise Problem(400, "header", f"idempotency-key has at most {ID_LENGTH} printable characters")
        visit.prefer = preference(headers.get(b"prefer", b""), int(self.gate.settings.deadline_s))
        seen = origin_of(headers.get(b"allotrope-origin", b"0"))
        if seen is None:
            raise Problem(400, "header", "allotrope-origin is a number that came with an answer")
        visit.after = seen
        admission.permit(caller, method.offer.title, 1)
        if visit.until <= perf_counter():
            raise Expired(f"{method.offer.title}: the deadline had passed")
        await admission.enter(caller)
        return caller

    def _written(self, method: Method, done: Any, visit: Visit) -> bytes:
        """Return a reply; an empty one to who would not wait for the end of a command. Lost to who would."""
        if not isinstance(done, Status):
            return self.contract.written(method, done)
        if method.offer.kind == "event":
            return self.contract.written(method, {"origin": done.origin})
        if not visit.prefer.applied():
            visit.until = perf_counter()  # it is over: nothing more can come of it in time
            raise Lost("it has not ended before its deadline")
        return b""

    def _read(self, method: Method, data: bytes) -> Any:
        try:
            return self.contract.read(method, data)
        except msgspec.ValidationError as error:
            raise unfit(error, method.offer.title, method.offer.names) from None
        except (DecodeError, msgspec.DecodeError, ValueError) as error:
            raise Problem(400, "malformed", f"this is no {method.asked}: {error}") from None

    def _failed(self, error: Exception, visit: Visit, context: Context) -> int:
        """Give the call the status of an error; return its HTTP kin, by which both doors count."""
        told = Lost("cut at its deadline") if isinstance(error, TimeoutError) else error
        problem = problem_of(told, visit, self.gate.statuses)
        body, code = problem.body(visit.request), _code(problem)
        context.set_code(code)
        context.set_details(str(body["detail"]))
        context.set_trailing_metadata(((_DETAILS, _details(problem, body, code)), *_metadata(visit)))
        return problem.status

    def _count(self, method: Method, status: int, begun: float, visit: Visit) -> None:
        self.gate.counters.count(method.offer.title, status, perf_counter() - begun)
        self.gate.link.ended(visit, "ok" if status < 400 else str(status))


class _Handlers(grpc.GenericRpcHandler):
    """Finds the handler of a path."""

    def __init__(self, handlers: dict[str, Any]) -> None:
        self.handlers = handlers

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        return self.handlers.get(handler_call_details.method)


def _headers(context: Context) -> dict[bytes, bytes]:
    """Return the metadata as headers; no page of a browser can make such a call, so it counts as of this machine."""
    found = {b"host": b"localhost"}
    for name, value in context.invocation_metadata() or ():
        found[name.encode()] = value if isinstance(value, bytes) else value.encode("latin-1", "replace")
    found.pop(b"origin", None)
    return found


def _metadata(visit: Visit) -> Iterable[tuple[str, str]]:
    found = [("x-request-id", visit.request), ("traceparent", visit.trace)]
    if visit.origins:
        found.append(("allotrope-origin", str(max(visit.origins))))
    if visit.place:
        found.append(("location", visit.place))
    if applied := visit.prefer.applied():
        found.append(("preference-applied", applied.decode("ascii")))
    return found


def _code(problem: Problem) -> grpc.StatusCode:
    if problem.kind == "lost" and problem.status == 503:
        return grpc.StatusCode.UNKNOWN  # a client would repeat what is UNAVAILABLE by itself
    if problem.kind.startswith("fault:") and problem.status not in (401, 403, 404, 429):
        return grpc.StatusCode.FAILED_PRECONDITION
    return _CODES.get(problem.status, grpc.StatusCode.INTERNAL)


def _details(problem: Problem, body: dict[str, Any], code: grpc.StatusCode) -> bytes:
    """Return a google.rpc.Status: what went wrong, in which request, and when to come back."""
    status = status_pb2.Status(code=code.value[0], message=str(body["detail"]))
    known = {name: value for name, value in body.items() if name in ("fault", "fields", "instance")}
    metadata = {n: v if isinstance(v, str) else msgspec.json.encode(v).decode() for n, v in known.items()}
    status.details.add().Pack(
        error_details_pb2.ErrorInfo(reason=problem.kind, domain="allotrope", metadata=metadata)
    )
    if problem.retry_s is not None:
        info = error_details_pb2.RetryInfo()
        info.retry_delay.FromNanoseconds(int(problem.retry_s * 1e9))
        status.details.add().Pack(info)
    found: bytes = status.SerializeToString()
    return found


def _read(name: str) -> bytes:
    try:
        return Path(name).read_bytes()
    except OSError as error:
        raise Refused(f"{name}: {error.strerror}") from None
