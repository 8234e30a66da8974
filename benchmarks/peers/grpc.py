"""grpcio's asyncio API over TCP, without TLS and without authentication; bodies are msgpack, the array is raw."""

import asyncio
import sys

import grpc
import msgspec
import uvloop

from benchmarks.peers import harness
from benchmarks.peers.harness import ARRAY, ASKED, DEADLINE_S, TRACE, Features, Score

encode = msgspec.msgpack.encode
asked = msgspec.msgpack.Decoder(Features)
scored = msgspec.msgpack.Decoder(Score)
number = msgspec.msgpack.Decoder(float)
OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


async def serve() -> None:
    """Answer until the end of the process."""

    async def predict(body: bytes, context: object) -> bytes:
        return encode(harness.score(asked.decode(body)))

    async def read(body: bytes, context: object) -> bytes:
        return encode(harness.total(body))

    methods = {name.__name__: grpc.unary_unary_rpc_method_handler(name) for name in (predict, read)}
    server = grpc.aio.server(options=OPTIONS)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("Model", methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    await server.wait_for_termination()


async def ask() -> None:
    """Call and measure."""
    with harness.callee("-m", "benchmarks.peers.grpc", "serve") as other:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{other}", options=OPTIONS) as channel:
            predict, read = channel.unary_unary("/Model/predict"), channel.unary_unary("/Model/read")
            trace = (("traceparent", TRACE),)

            async def small() -> Score:
                return scored.decode(await predict(encode(ASKED), timeout=DEADLINE_S, metadata=trace))

            async def large() -> float:
                return number.decode(await read(ARRAY.tobytes(), timeout=DEADLINE_S, metadata=trace))

            await harness.answered(small, large)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve() if sys.argv[1:] == ["serve"] else ask())
