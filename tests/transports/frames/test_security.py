"""Who is let in: the same key or certificates of one authority, proved afresh on every connection."""

import asyncio
import datetime
import os
import secrets
import shutil
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from allotrope import Refused
from allotrope.transports.frames import security, sockets, wire
from allotrope.transports.frames.addresses import Unix
from allotrope.transports.frames.client import Link, connect
from allotrope.transports.frames.errors import Unreachable
from allotrope.transports.frames.limits import Limits
from allotrope.transports.frames.security import ANSWER, GREETING, MAGIC, PROOF, Certificates, Key
from allotrope.transports.frames.server import Server
from tests.transports.frames.service import Service, server, serving, until

trustme = pytest.importorskip("trustme")


# Keys.


async def test_a_wrong_key_is_refused_at_both_sides(
    folder: Path, loops: None, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(folder) as (_, served, _):
        with pytest.raises(Refused, match="the client's key is not among the server's"):
            await connect(f"unix:{folder}/socket", Key.create(folder / "other"))
        assert served.counters.refused_links == 1
    assert "the client's key is not among" in caplog.text


def begun(key: Key) -> tuple[bytes, bytes]:
    """Return a client's greeting, and its secret."""
    name, secret = next(iter(key.keys().items()))
    return GREETING.pack(MAGIC, wire.VERSION, 0, secrets.token_bytes(32), name), secret


async def greeted(
    folder: Path, greeting: bytes, proof: bytes | Callable[[bytes], bytes]
) -> tuple[bytes, bytes]:
    """Say both parts of a greeting, and return the proof that was sent and the server's last word."""
    made = await sockets.connected(Unix(f"{folder}/socket"))
    with made:
        await sockets.told(made, greeting)
        answer, memory = await sockets.heard(made, ANSWER.size)
        if memory >= 0:
            os.close(memory)
        if ANSWER.unpack(answer)[0]:
            return b"", answer
        sent = proof if isinstance(proof, bytes) else proof(greeting + ANSWER.unpack(answer)[1])
        await sockets.told(made, sent)
        return sent, (await sockets.heard(made, ANSWER.size))[0]


async def test_what_was_overheard_lets_nobody_in(folder: Path, key: Key) -> None:
    async with serving(folder) as (_, served, _):
        greeting, secret = begun(key)
        proof, answer = await greeted(
            folder, greeting, lambda said: PROOF.pack(security._signed(secret, b"client", said))
        )
        assert ANSWER.unpack(answer)[0] == 0
        _, replayed = await greeted(folder, greeting, proof)
        assert b"repeats what it overheard" in replayed
        own = ANSWER.unpack(answer)[1]  # the server's proof, turned around
        _, reflected = await greeted(folder, greeting, own)
        assert ANSWER.unpack(reflected)[0] == 1
        assert served.counters.refused_links == 2


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda said: b"HTTP" + said[4:], b"does not speak this protocol"),
        (lambda said: said[:4] + b"\x09" + said[5:], b"speaks version 9, the server 1"),
        (lambda said: said[:-1] + bytes([said[-1] ^ 1]), b"not among the server's"),
    ],
)
async def test_another_greeting_is_refused_with_its_reason(
    folder: Path, key: Key, change: Callable[[bytes], bytes], why: bytes
) -> None:
    async with serving(folder):
        assert why in (await greeted(folder, change(begun(key)[0]), b""))[1]


async def test_a_server_without_the_key_is_not_believed(folder: Path, key: Key) -> None:
    async def pretend(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(GREETING.size)
        writer.write(ANSWER.pack(0, bytes(32), b""))
        await reader.readexactly(PROOF.size)
        writer.write(ANSWER.pack(0, secrets.token_bytes(32), b""))
        writer.close()

    pretender = await asyncio.start_unix_server(pretend, f"{folder}/socket")
    async with pretender:
        with pytest.raises(Refused, match="the server does not have the key"):
            await connect(f"unix:{folder}/socket", key)


async def test_a_server_that_says_nothing_or_breaks_off_is_given_up(folder: Path, key: Key) -> None:
    with socket.socket(socket.AF_UNIX) as mute:
        mute.bind(f"{folder}/socket")
        mute.listen()
        with pytest.raises(Unreachable, match=r"no greeting within 0\.1 s"):
            await connect(f"unix:{folder}/socket", key, Limits(greeting_s=0.1))
    with pytest.raises(Unreachable):
        await connect(f"unix:{folder}/socket", key)


@pytest.mark.skipif(os.name != "posix" or os.getuid() != 0, reason="only root can become somebody else")
async def test_another_user_is_refused(folder: Path) -> None:
    async with serving(folder) as (_, served, _):
        os.chmod(folder, 0o755)
        os.chmod(folder / "socket", 0o666)
        child = os.fork()
        if not child:  # nothing of the parent's loop is touched
            os.setuid(65534)
            with socket.socket(socket.AF_UNIX) as made:
                made.connect(f"{folder}/socket")
                answer = made.recv(ANSWER.size)
            os._exit(b"runs as user 65534, this one as 0" in answer)
        _, ended = await asyncio.to_thread(os.waitpid, child, 0)
        assert os.waitstatus_to_exitcode(ended) == 1
        await until(lambda: served.counters.refused_links)


async def test_a_key_is_changed_without_a_gap(folder: Path, key: Key) -> None:
    old, new = key.path.read_text(), secrets.token_hex(32) + "\n"
    theirs = Path(shutil.copy(key.path, folder / "theirs"))
    async with serving(folder) as (_, _, link):
        address = f"unix:{folder}/socket"
        client = Key(theirs)
        put = Path.write_text
        for server_has, client_has in (
            (old + new, old),
            (old + new, new + old),
            (new + old, new),
            (new, new),
        ):
            put(key.path, server_has)
            put(theirs, client_has)
            await (await connect(address, client)).close()
        put(theirs, old)
        with pytest.raises(Refused, match="not among"):
            await connect(address, client)
        assert (await link.call("echo", b"x"))[0] == b"x"  # what is open stays open


@pytest.mark.parametrize(
    ("text", "mode", "why"),
    [
        ("", 0o600, "at least 32 bytes"),
        ("abcd", 0o600, "at least 32 bytes"),
        ("no key " * 20, 0o600, "in hexadecimal"),
        ("é" * 64, 0o600, "in hexadecimal"),
        ("ab" * 32, 0o640, "others may read this key"),
    ],
)
def test_a_poor_key_is_refused(folder: Path, text: str, mode: int, why: str) -> None:
    path = folder / "poor"
    path.write_text(text, "utf-8")
    path.chmod(mode)
    with pytest.raises(Refused, match=why):
        Key(path)


def test_a_key_is_made_once_and_for_its_owner(folder: Path) -> None:
    made = Key.create(folder / "new")
    assert made.path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(FileExistsError):
        Key.create(folder / "new")
    with pytest.raises(Refused, match="No such file"):
        Key(folder / "none")


# Certificates.


def issued(folder: Path, authority: "trustme.CA", name: str, days: int = 1) -> Certificates:
    """Return certificates of `name` as files in a folder of their own."""
    made = folder / name
    made.mkdir(exist_ok=True)
    ends = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days)
    leaf = authority.issue_cert("127.0.0.1", common_name=name, not_after=ends)
    leaf.private_key_pem.write_to_path(made / "key.pem")
    for place, part in enumerate(leaf.cert_chain_pems):
        part.write_to_path(made / "chain.pem", append=place > 0)
    authority.cert_pem.write_to_path(made / "authority.pem")
    return Certificates(made / "chain.pem", made / "key.pem", made / "authority.pem")


async def secured(credentials: Certificates) -> tuple[Service, Server, str]:
    service = Service()
    served = server(service, credentials)
    return service, served, await served.listen("tcp://127.0.0.1:0")


async def test_calls_over_tls(loops: None, folder: Path) -> None:
    authority = trustme.CA()
    service, served, address = await secured(issued(folder, authority, "models"))
    link = await connect(address, issued(folder, authority, "edge"))
    array = bytes(range(256)) * 8192
    payload, (view,) = await link.call("echo", b"x", [array], timeout_s=5.0)
    assert (payload, bytes(view)) == (b"x", array)
    assert [item async for item, _ in link.stream("count", b"3 1")] == [b"0", b"1", b"2"]
    assert (service.calls[0].peer, link.peer) == ("edge", "models")
    tls = link._connection._transport.get_extra_info("ssl_object")
    assert tls.version() == "TLSv1.3"
    await link.close()
    await served.close()


@pytest.mark.parametrize("wrong", ["authority", "expired", "expired server", "name", "none"])
async def test_wrong_certificates_are_refused_at_both_sides(
    loops: None, folder: Path, wrong: str, caplog: pytest.LogCaptureFixture
) -> None:
    authority = trustme.CA()
    ours = issued(folder, authority, "models", days=-1 if wrong == "expired server" else 1)
    _, served, address = await secured(ours)
    theirs = issued(folder, authority, "edge", days=-1 if wrong == "expired" else 1)
    if wrong == "authority":
        other = issued(folder, trustme.CA(), "stranger")
        theirs = Certificates(other.chain, other.key, theirs.authority)
    elif wrong == "name":
        theirs.name = "elsewhere.internal"
    elif wrong == "none":
        theirs = Certificates(theirs.chain, theirs.key, theirs.authority)
        bare = ssl.create_default_context(cafile=str(theirs.authority))
        theirs.context = lambda *, server: bare  # type: ignore[method-assign]  # a client that shows nothing
    with pytest.raises(Refused, match=r"certificate|not let in"):
        await asyncio.wait_for(connect(address, theirs), 5)
    await until(lambda: served.counters.refused_links)
    assert "a connection was refused" in caplog.text
    await served.close()
    assert served.links == 0


async def test_who_does_not_speak_tls_is_refused(folder: Path, key: Key) -> None:
    _, served, address = await secured(issued(folder, trustme.CA(), "models"))
    with pytest.raises(Refused):
        await connect(address, key, Limits(greeting_s=2.0))
    await served.close()


async def test_certificates_are_changed_without_a_restart(folder: Path) -> None:
    first, second = trustme.CA(), trustme.CA()
    ours, theirs = issued(folder, first, "models"), issued(folder, first, "edge")
    _, served, address = await secured(ours)
    old = await connect(address, theirs)

    def replaced(authority: "trustme.CA") -> None:
        for kept, name in ((ours, "models2"), (theirs, "edge2")):
            fresh = issued(folder, authority, name)
            for part in ("chain", "key", "authority"):
                os.replace(getattr(fresh, part), getattr(kept, part))

    replaced(second)
    new: Link = await connect(address, theirs)
    assert (old.peer, new.peer) == ("models", "models2")
    for link in (old, new):
        assert (await link.call("echo", b"x"))[0] == b"x"
        await link.close()
    ours.key.write_text("half a key")  # while somebody is still copying, the last good ones serve
    again = await connect(address, theirs)
    assert "half" not in ours.stale
    assert "PEM" in ours.stale
    await again.close()
    await served.close()


def test_files_that_do_not_fit_are_named(folder: Path) -> None:
    one, two = issued(folder, trustme.CA(), "one"), issued(folder, trustme.CA(), "two")
    with pytest.raises(Refused, match=r"one.chain\.pem.*must be PEM files, the key that of the certificate"):
        Certificates(one.chain, two.key, one.authority)
    with pytest.raises(Refused, match="No such file"):
        Certificates(folder / "none", one.key, one.authority)


async def test_credentials_and_addresses_have_to_fit(folder: Path, key: Key) -> None:
    with pytest.raises(Refused, match="does not hide"):
        await connect("tcp://10.1.1.1:70", key)
    with pytest.raises(Refused, match="certificates are for tcp"):
        await connect("unix:/run/x", issued(folder, trustme.CA(), "one"))
