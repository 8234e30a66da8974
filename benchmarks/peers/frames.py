"""Our frames over a unix socket, over TCP, and over TCP with TLS: with peer authentication, deadline and counters."""

import asyncio
import sys
import tempfile
from pathlib import Path

import msgspec
import uvloop

from allotrope.transports.frames.client import connect
from allotrope.transports.frames.security import Certificates, Key
from allotrope.transports.frames.server import Call, Server
from benchmarks.peers import harness
from benchmarks.peers.harness import ARRAY, ASKED, DEADLINE_S, TRACE, Features, Score

encode = msgspec.msgpack.encode
asked = msgspec.msgpack.Decoder(tuple[str, Features])
scored = msgspec.msgpack.Decoder(Score)
number = msgspec.msgpack.Decoder(float)


def credentials(way: str, folder: Path, side: str) -> Key | Certificates:
    """Return what one side shows the other."""
    if way != "tls":
        return Key(folder / "key")
    return Certificates(folder / f"{side}.pem", folder / f"{side}.key", folder / "authority.pem")


def issue(folder: Path) -> None:
    """Write a key, and certificates of both sides by one authority."""
    import trustme

    Key.create(folder / "key")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "authority.pem")
    for side in ("server", "client"):
        issued = authority.issue_cert("127.0.0.1", common_name=side)
        issued.private_key_pem.write_to_path(folder / f"{side}.key")
        issued.cert_chain_pems[0].write_to_path(folder / f"{side}.pem")


async def serve(way: str, folder: Path) -> None:
    """Answer until the end of the process."""

    async def predict(call: Call) -> bytes:
        _, features = asked.decode(call.payload)
        return encode(harness.score(features))

    async def read(call: Call) -> bytes:
        return encode(harness.total(call.buffers[0]))

    server = Server({"Model.predict": predict, "Model.read": read}, {}, credentials(way, folder, "server"))
    address = f"unix:{folder}/socket" if way == "unix" else "tcp://127.0.0.1:0"
    print(await server.listen(address), flush=True)
    await asyncio.get_running_loop().create_future()


async def ask(way: str, folder: Path) -> None:
    """Call and measure."""
    with harness.callee("-m", "benchmarks.peers.frames", way, str(folder)) as other:
        link = await connect(other, credentials(way, folder, "client"))

        async def small() -> Score:
            payload, _ = await link.call("Model.predict", encode((TRACE, ASKED)), timeout_s=DEADLINE_S)
            return scored.decode(payload)

        async def large() -> float:
            payload, _ = await link.call("Model.read", b"", (ARRAY,), DEADLINE_S)
            return number.decode(payload)

        await harness.answered(small, large)
        await link.close()


if __name__ == "__main__":
    way, *given = sys.argv[1:]
    if given:
        uvloop.run(serve(way, Path(given[0])))
    else:
        with tempfile.TemporaryDirectory() as made:
            issue(Path(made))
            uvloop.run(ask(way, Path(made)))
