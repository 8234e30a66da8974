"""Where keys of tokens come from: over https, or from this machine; a bad answer never ends what is known."""

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import jwt
import msgspec
import pytest
import trustme
from cryptography.hazmat.primitives.asymmetric import ec

from allotrope.gateway.access import tokens
from allotrope.gateway.access.tokens import Tokens, read_keys
from allotrope.planning.topology import Bearer

PRIVATE = ec.generate_private_key(ec.SECP256R1())
KEYS = msgspec.json.encode(
    {"keys": [{**jwt.algorithms.ECAlgorithm.to_jwk(PRIVATE.public_key(), as_dict=True), "kid": "one"}]}
)
FOUND = "/.well-known/openid-configuration"


class Issuer:
    """A server that answers what it is told, byte for byte, by path."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.says: dict[str, bytes] = {}
        issuer = self

        class Answers(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.wfile.write(issuer.says[self.path])

            def log_message(self, *_: Any) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Answers)
        if context is not None:
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.url = f"{'https' if context else 'http'}://127.0.0.1:{self.server.server_port}"

    def keys_at(self, place: object) -> None:
        self.says[FOUND] = answer(msgspec.json.encode({"jwks_uri": place}))


def answer(body: bytes) -> bytes:
    return b"HTTP/1.0 200 OK\r\n\r\n" + body


def moved(to: str) -> bytes:
    return f"HTTP/1.0 302 Found\r\nLocation: {to}\r\n\r\n".encode()


@contextmanager
def serving(issuer: Issuer) -> Iterator[Issuer]:
    thread = threading.Thread(target=issuer.server.serve_forever)
    thread.start()
    try:
        yield issuer
    finally:
        issuer.server.shutdown()
        issuer.server.server_close()
        thread.join()


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with serving(Issuer()) as found:
        yield found


def test_keys_may_move_on_the_same_machine(issuer: Issuer) -> None:
    issuer.keys_at(f"{issuer.url}/keys")
    issuer.says["/keys"] = moved(f"{issuer.url}/new")
    issuer.says["/new"] = answer(KEYS)
    assert list(read_keys(Bearer(issuer=issuer.url, audience="shop"))) == ["one"]


@pytest.mark.parametrize(
    "place", ["/etc/hostname", "callers.json", "file:///etc/hostname", "http://example.org/", 7]
)
def test_an_issuer_names_a_url_that_can_be_trusted(issuer: Issuer, place: object) -> None:
    issuer.keys_at(place)
    with pytest.raises(ValueError, match=r"over https|no jwks_uri"):
        read_keys(Bearer(issuer=issuer.url, audience="shop"))


def test_an_issuer_over_https_names_nothing_less(
    tmp_path: Path, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    issuer.says["/keys"] = answer(KEYS)
    with serving(Issuer(certified(tmp_path, monkeypatch))) as far:
        bearer = Bearer(issuer=far.url, audience="shop")
        far.keys_at(f"{far.url}/keys")
        far.says["/keys"] = answer(KEYS)
        assert list(read_keys(bearer)) == ["one"]
        far.says["/keys"] = moved(f"{issuer.url}/keys")
        with pytest.raises(ValueError, match="keys come over https"):
            read_keys(bearer)
        far.keys_at(f"{issuer.url}/keys")
        with pytest.raises(ValueError, match="keys come over https"):
            read_keys(bearer)


def certified(folder: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(folder / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


@pytest.mark.parametrize(
    "bad",
    [b"noise\r\n\r\n", answer(b"[1]"), answer(b'{"keys": 7}'), answer(b'{"keys": [7]}'), answer(b"\xff")],
)
async def test_old_keys_outlive_a_bad_answer(
    issuer: Issuer, bad: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "FRESH_S", -1.0)  # old at once
    monkeypatch.setattr(tokens, "RETRY_S", 0.0)
    issuer.says["/keys"] = answer(KEYS)
    checked = Tokens(Bearer(issuer="https://issuer.example", audience="shop", keyset=f"{issuer.url}/keys"))
    assert (await checked.caller(token("ann"))).name == "ann"
    issuer.says["/keys"] = bad
    assert (await checked.caller(token("bob"))).name == "bob"


def token(subject: str) -> str:
    claims = {"iss": "https://issuer.example", "aud": "shop", "sub": subject, "exp": 1 << 40}
    return jwt.encode(claims, PRIVATE, "ES256", {"kid": "one"})
