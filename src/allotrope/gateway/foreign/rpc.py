"""The envoy over gRPC: the contract that our own gateway offers, as `allotrope proto` prints it.

Not here: what an error means (`ends`), and how types become messages (`gateway/rpc`).
"""

from collections.abc import AsyncGenerator, Callable, Iterable
from typing import Any
from urllib.parse import urlsplit

import grpc
import grpc.aio
import msgspec
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from allotrope.gateway.foreign.ends import Told, error_of
from allotrope.gateway.foreign.envoy import LARGEST, Post, calling, named, patience
from allotrope.gateway.offers import Offer
from allotrope.gateway.rpc.contract import Contract
from allotrope.kernel.errors import Failed, Lost, Overloaded
from allotrope.kernel.operations import Operation

_DETAILS = "grpc-status-details-bin"
_STATUSES = {
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429, grpc.StatusCode.UNAVAILABLE: 503, grpc.StatusCode.UNKNOWN: 504,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504, grpc.StatusCode.CANCELLED: 504, grpc.StatusCode.ABORTED: 504,
    grpc.StatusCode.INTERNAL: 500, grpc.StatusCode.DATA_LOSS: 500,
}  # fmt: skip


class RpcEnvoy:
    """Asks over gRPC."""

    def __init__(self, post: Post, app: str, offers: Iterable[Offer]) -> None:
        """Speak the contract of `app`, as far as `offers` go; connect with the first call."""
        self.post = post
        self.contract = Contract(app, offers)
        self._methods = {m.offer.title: (path, m) for path, m in self.contract.methods.items()}
        self._channel: Any = None

    def body(self, operation: Operation) -> Callable[..., Any]:
        """Return what stands for the body of an operation."""
        path, method = self._methods[operation.title]

        def request(arguments: tuple[Any, ...]) -> tuple[bytes, dict[str, Any]]:
            call = calling()
            headers = self.post.headers(operation, call)
            headers.pop("x-deadline-ms", None)  # gRPC has its own
            options = {"metadata": tuple(headers.items()), "wait_for_ready": False}
            if not operation.streams:
                options["timeout"] = patience(call)
            return self.contract.asked(method, named(operation, arguments)), options

        def value(data: bytes) -> Any:
            try:
                return self.contract.answer(method, data)
            except (DecodeError, msgspec.DecodeError, ValueError) as error:
                raise Failed(
                    operation.component, operation.name, f"its answer does not fit: {error}"
                ) from None

        async def asked(*arguments: Any) -> Any:
            data, options = request(arguments)
            try:
                answer = await self._open().unary_unary(path)(data, **options)
            except grpc.aio.AioRpcError as error:
                raise self._error(operation, error) from None
            return value(answer)

        async def streamed(*arguments: Any) -> AsyncGenerator[Any, None]:
            data, options = request(arguments)
            call = self._open().unary_stream(path)(data, **options)
            try:
                async for piece in call:
                    yield value(piece)
            except grpc.aio.AioRpcError as error:
                raise self._error(operation, error) from None
            finally:
                call.cancel()

        return streamed if operation.streams else asked

    def _error(self, operation: Operation, error: grpc.aio.AioRpcError) -> Exception:
        code, words = error.code(), error.details() or ""
        problem, retry_s = Told(detail=words), None
        for name, value in error.trailing_metadata() or ():
            if name == _DETAILS and isinstance(value, bytes):
                problem, retry_s = _told(value, words)
        if code is grpc.StatusCode.UNAVAILABLE and not problem.type:
            if "connect" in words:
                return Overloaded(f"{operation.title}: nobody answers at {self.post.address}", 0.5)
            return Lost(f"{operation.title}: the link to {self.post.address} broke: {words}")
        return error_of(operation, _STATUSES.get(code, 400), problem, retry_s)

    def _open(self) -> Any:
        if self._channel is None:
            options = (
                ("grpc.max_receive_message_length", LARGEST),
                ("grpc.enable_retries", 0),
                ("grpc.max_reconnect_backoff_ms", 2000),
                ("grpc.use_local_subchannel_pool", 1),
            )
            place = urlsplit(self.post.address).netloc
            if self.post.secure:
                self._channel = grpc.aio.secure_channel(place, grpc.ssl_channel_credentials(), options)
            else:
                self._channel = grpc.aio.insecure_channel(place, options)
        return self._channel

    async def close(self) -> None:
        """Let go of the connection."""
        if self._channel is not None:
            await self._channel.close()


def _told(data: bytes, words: str) -> tuple[Told, float | None]:
    """Return the problem in the details of a status, and when to come back."""
    status, problem, retry_s = status_pb2.Status(), Told(detail=words), None
    try:
        status.ParseFromString(data)
        for detail in status.details:
            if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
                info = error_details_pb2.ErrorInfo()
                detail.Unpack(info)
                fields = msgspec.json.decode(info.metadata.get("fields", "{}"), type=dict[str, Any])
                kind = f"urn:allotrope:{info.reason}"
                problem = Told(kind, "", words, info.metadata.get("fault", ""), fields)
            elif detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR):
                retry = error_details_pb2.RetryInfo()
                detail.Unpack(retry)
                retry_s = retry.retry_delay.ToNanoseconds() / 1e9
    except (DecodeError, msgspec.DecodeError):
        pass  # the code of the status says enough
    return problem, retry_s
