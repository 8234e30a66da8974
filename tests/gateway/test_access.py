"""Who comes in: keys, tokens, scopes, rates, and shares under load."""

import asyncio
import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import jwt
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from allotrope import Refused
from allotrope.gateway.access.keys import made, revoked
from allotrope.gateway.server import bound
from allotrope.planning.topology import Gateway
from tests.gateway.bakery import GATES, RUN
from tests.gateway.doors import opened, until

LOAF = {"id": "a"}


async def test_a_key_is_needed_once_there_is_one(tmp_path: Path) -> None:
    async with opened(tmp_path, keys={"ann": ("*",)}) as door:
        key = door.client.headers.pop("x-api-key")
        for headers in (
            {},
            {"X_Api_Key": "alt_x_y"},
            {"Authorization": f"Basic {key}"},
            {"Authorization": "Bearer"},
        ):
            answer = await door.post("/Shelf/loaf", LOAF, **headers)
            assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
        for path in ("/metrics", "/openapi.json", "/nothing"):
            assert (await door.get(path)).status_code == 401
        for path in ("/health/live", "/health/ready", "/docs"):
            assert (await door.get(path)).status_code == 200
        for headers in ({"X_Api_Key": key}, {"Authorization": f"Bearer {key}"}):
            assert (await door.post("/Shelf/loaf", LOAF, **headers)).status_code == 200
            assert (await door.get("/metrics", **headers)).status_code == 200


async def test_what_is_opened_needs_no_key(tmp_path: Path) -> None:
    async with opened(tmp_path, '[gateway]\nopen = ["docs", "metrics"]\n', keys={"ann": ("*",)}) as door:
        del door.client.headers["x-api-key"]
        assert (await door.get("/metrics")).status_code == 200
        assert (await door.get("/openapi.json")).status_code == 200
        assert (await door.get("/Shelf/loaf?id=a")).status_code == 401


async def test_a_key_made_or_revoked_counts_while_it_serves(tmp_path: Path) -> None:
    async with opened(tmp_path, keys={"ann": ("*",)}) as door:
        path = tmp_path / "callers.json"
        new = made(path, "bob", "", ("*",))
        revoked(path, "ann")
        async with asyncio.timeout(10):
            while (await door.post("/Shelf/loaf", LOAF)).status_code == 200:
                pass
        assert (await door.post("/Shelf/loaf", LOAF, X_Api_Key=new)).status_code == 200


async def test_the_first_key_closes_an_open_door_for_good(tmp_path: Path) -> None:
    async with opened(tmp_path) as door:
        assert (await door.post("/Shelf/loaf", LOAF)).status_code == 200
        assert (await door.get("/openapi.json")).json()["security"] == []
        path = tmp_path / "callers.json"
        path.write_text("no keys yet")  # what cannot be read opens nothing
        async with asyncio.timeout(10):
            while (await door.post("/Shelf/loaf", LOAF)).status_code == 200:
                pass
        path.unlink()
        key = made(path, "ann", "", ("*",))
        async with asyncio.timeout(10):
            while (await door.post("/Shelf/loaf", LOAF, X_Api_Key=key)).status_code == 401:
                pass
        assert (await door.get("/openapi.json", X_Api_Key=key)).json()["security"] != []
        revoked(path, "ann")
        path.unlink()
        async with asyncio.timeout(10):
            while (await door.post("/Shelf/loaf", LOAF, X_Api_Key=key)).status_code == 200:
                pass
        assert (await door.post("/Shelf/loaf", LOAF)).status_code == 401


async def test_scopes_bound_what_a_key_may_ask(tmp_path: Path) -> None:
    facade = '[gateway.facade]\nboth = ["Shelf.loaf", "Shelf.sell"]\n'
    async with opened(tmp_path, facade, keys={"ann": ("Shelf.l*", "bundle", "facade.*")}) as door:
        assert (await door.post("/Shelf/loaf", LOAF)).status_code == 200
        for path in ("/Shelf/sell", "/events/Baked"):
            answer = await door.post(path, LOAF)
            assert (answer.status_code, answer.json()["type"]) == (403, "urn:allotrope:scope")
        assert (await door.get("/metrics")).status_code == 403
        assert "Shelf/sell" not in (await door.get("/Shelf/sel")).text
        parts = {"x": {"call": "Shelf.loaf", "data": LOAF}, "y": {"call": "Shelf.sell", "data": LOAF}}
        answered = (await door.post("/bundle", parts)).json()
        assert [answered[name]["status"] for name in "xy"] == [200, 403]
        both = (await door.post("/facade/both", LOAF)).json()
        assert both["Shelf.sell"]["status"] == 409  # a facade is a permission of its own
        assert RUN == ["a"]


async def test_rates_bound_a_key_and_its_tenant(tmp_path: Path) -> None:
    text = "[gateway.caller]\nrate = 0.001\nburst = 3\n[gateway.tenant.shop]\nrate = 0.001\nburst = 4\n"
    async with opened(tmp_path, text, keys={"lone": ("*",)}) as door:
        keys = [made(tmp_path / "callers.json", name, "shop", ("*",)) for name in ("ann", "bob")]
        door.gate.admission.refresh()
        asked = [await door.post("/Shelf/loaf", LOAF) for _ in range(4)]
        assert [answer.status_code for answer in asked] == [200, 200, 200, 429]
        assert 990 <= int(asked[-1].headers["retry-after"]) <= 1000
        asked = [await door.post("/Shelf/loaf", LOAF, X_Api_Key=key) for key in keys for _ in range(3)]
        assert [answer.status_code for answer in asked] == [200, 200, 200, 200, 429, 429]


async def test_a_part_of_an_aggregate_counts_as_a_request(tmp_path: Path) -> None:
    async with opened(tmp_path, "[gateway.caller]\nrate = 0.001\nburst = 10\n", keys={"ann": ("*",)}) as door:
        parts = {str(number): {"call": "Shelf.loaf", "data": LOAF} for number in range(8)}
        assert (await door.post("/bundle", parts)).status_code == 200
        assert (await door.post("/bundle", parts)).status_code == 429


async def test_a_tenant_that_asks_little_is_not_kept_waiting_by_one_that_asks_much(tmp_path: Path) -> None:
    async with opened(tmp_path, "[gateway]\ninflight = 1\nqueue = 8\n", keys={"greedy": ("*",)}) as door:
        polite = made(tmp_path / "callers.json", "polite", "", ("*",))
        door.gate.admission.refresh()
        turnstile = door.gate.admission.turnstile
        asked = [asyncio.create_task(door.post("/Oven/bake", {"id": str(n)})) for n in range(9)]
        await until(lambda: turnstile.waiting == 8)
        late = asyncio.create_task(door.post("/Oven/bake", {"id": "p"}, X_Api_Key=polite))
        await until(lambda: turnstile.refused == 1)  # the newest of the greedy made room
        GATES[RUN[0]].set()
        await until(lambda: len(RUN) == 2)
        GATES[RUN[1]].set()
        await until(lambda: len(RUN) == 3)
        assert "p" in RUN
        for number in (*map(str, range(9)), "p"):
            GATES.setdefault(number, asyncio.Event()).set()
        assert (await late).status_code == 200
        assert sorted(answer.status_code for answer in await asyncio.gather(*asked)) == [200] * 8 + [503]


async def test_a_tenant_may_have_places_of_its_own(tmp_path: Path) -> None:
    text = "[gateway.tenant.greedy]\nplaces = 2\n"
    async with opened(tmp_path, text, keys={"greedy": ("*",)}) as door:
        polite = made(tmp_path / "callers.json", "polite", "", ("*",))
        door.gate.admission.refresh()
        for _ in range(2):  # what they gave back can be had again
            RUN.clear()
            GATES.clear()
            asked = [asyncio.create_task(door.post("/Oven/bake", {"id": "a"})) for _ in range(2)]
            await until(lambda: RUN == ["a", "a"])
            refused = await door.post("/Shelf/loaf", LOAF)
            assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
            assert (await door.get("/Oven/rise?pieces=1")).status_code == 429
            assert (await door.post("/Shelf/loaf", LOAF, X_Api_Key=polite)).status_code == 200
            GATES["a"].set()
            assert {answer.status_code for answer in await asyncio.gather(*asked)} == {200}
            assert (await door.get("/Oven/rise?pieces=1")).status_code == 200


def test_without_keys_it_is_for_this_machine_only(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="allotrope keys new"):
        bound("0.0.0.0", 0, Gateway(), closed=False)
    listener = bound("127.0.0.1", 0, Gateway(), closed=False)
    try:
        with pytest.raises(Refused, match="choose another --port"):
            bound("127.0.0.1", listener.getsockname()[1], Gateway(), closed=False)
    finally:
        listener.close()


# -- tokens

RSA_ONE, RSA_TWO = (rsa.generate_private_key(65537, 2048) for _ in range(2))
EC_ONE = ec.generate_private_key(ec.SECP256R1())
ISSUER = "https://login.example"


def jwk(name: str, key: Any) -> dict[str, Any]:
    kind = jwt.algorithms.RSAAlgorithm if hasattr(key, "decrypt") else jwt.algorithms.ECAlgorithm
    return {**kind.to_jwk(key.public_key(), as_dict=True), "kid": name, "use": "sig"}


def keyset(**keys: Any) -> bytes:
    return msgspec.json.encode({"keys": [jwk(name, key) for name, key in keys.items()]})


def token(key: Any = RSA_ONE, name: str = "one", algorithm: str = "RS256", **changed: Any) -> str:
    now = int(time.time())
    claims = {
        "iss": ISSUER, "aud": "bakery", "sub": "ann", "tenant": "shop", "scope": "Shelf.* docs", "iat": now,
        "exp": now + 36_000, **changed,
    }  # fmt: skip
    return jwt.encode(
        {k: v for k, v in claims.items() if v is not None}, key, algorithm, headers={"kid": name}
    )


def topology(place: object, more: str = "") -> str:
    keys = f'keyset = "{place}"\n' if place else ""
    return f'[gateway.bearer]\nissuer = "{ISSUER}"\naudience = "bakery"\n{keys}{more}'


async def test_a_token_names_a_caller_its_tenant_and_its_scopes(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    file.write_bytes(keyset(one=RSA_ONE, two=EC_ONE))
    async with opened(tmp_path, topology(file)) as door:
        ask = partial(door.post, "/Shelf/sell", {"id": "x"}, Idempotency_Key="k")
        for good in (token(), token(EC_ONE, "two", "ES256")):
            assert (await ask(Authorization=f"Bearer {good}")).status_code == 409
        assert RUN == ["x"]  # of one tenant, so the second was a repeat of the first
        listed = token(scope=["Shelf.sell"], tenant=None)
        assert (await ask(Authorization=f"bearer {listed}")).status_code == 409
        assert RUN == ["x", "x"]
        assert (await door.post("/Oven/explode", Authorization=f"Bearer {token()}")).status_code == 403
        assert (
            await door.post("/Shelf/loaf", LOAF, Authorization=f"Bearer {token(scope=None)}")
        ).status_code == 403


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (token(exp=int(time.time()) - 60), "expired"),
        (token(exp=None), "exp"),
        (token(iss="https://evil.example"), "issuer"),
        (token(aud="other"), "udience"),
        (token(nbf=int(time.time()) + 30_000), "not yet valid"),
        (token(sub=None), "sub"),
        (token(scope=3), "scope"),
        (token(RSA_TWO), "verification failed"),
        (token(name="three"), "not known"),
        (token()[:-4], ""),
        (jwt.encode({"iss": ISSUER, "aud": "bakery", "sub": "a"}, None, "none"), "signed by none"),
        (jwt.encode({"iss": ISSUER, "aud": "bakery", "sub": "a"}, "s" * 32, "HS256"), "signed by HS256"),
        ("x.y.z", ""),
        ("\xff", ""),
    ],
)
async def test_a_token_that_proves_nothing(tmp_path: Path, bad: str, says: str) -> None:
    file = tmp_path / "keys.json"
    file.write_bytes(keyset(one=RSA_ONE))
    async with opened(tmp_path, topology(file)) as door:
        proof = [(b"authorization", b"Bearer " + bad.encode("latin-1"))]
        answer = await door.client.get("/Shelf/loaf?id=a", headers=proof)
        assert answer.status_code == 401, answer.text
        assert says in answer.json()["detail"]
        assert 'error="invalid_token"' in answer.headers["www-authenticate"]


class Issuer:
    """A server that tells where its keys are, and counts who asks for them."""

    def __init__(self) -> None:
        self.keys, self.asked = keyset(one=RSA_ONE), 0
        issuer = self

        class Answers(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                base = f"http://127.0.0.1:{issuer.server.server_port}"
                issuer.asked += self.path == "/keys"
                body = (
                    issuer.keys if self.path == "/keys" else msgspec.json.encode({"jwks_uri": f"{base}/keys"})
                )
                self.send_response(200)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Answers)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    found = Issuer()
    thread = threading.Thread(target=found.server.serve_forever)
    thread.start()
    yield found
    found.server.shutdown()
    found.server.server_close()
    thread.join()


async def test_keys_are_found_by_the_issuer_and_read_once(tmp_path: Path, issuer: Issuer) -> None:
    text = f'[gateway.bearer]\nissuer = "{issuer.url}"\naudience = "bakery"\n'
    async with opened(tmp_path, text) as door:
        good = {"Authorization": f"Bearer {token(iss=issuer.url)}"}
        answers = await asyncio.gather(*(door.post("/Shelf/loaf", LOAF, **good) for _ in range(8)))
        assert {answer.status_code for answer in answers} == {200}
        assert issuer.asked == 1
        for _ in range(5):  # a name that nobody knows is no way to make us ask again and again
            unknown = token(RSA_TWO, "two", iss=issuer.url)
            assert (
                await door.post("/Shelf/loaf", LOAF, Authorization=f"Bearer {unknown}")
            ).status_code == 401
        assert issuer.asked == 1
        issuer.keys = keyset(one=RSA_ONE, two=RSA_TWO)
        assert door.gate.admission.tokens is not None
        door.gate.admission.tokens._tried_at = float("-inf")  # as after the ten seconds
        assert (await door.post("/Shelf/loaf", LOAF, Authorization=f"Bearer {unknown}")).status_code == 200
        assert issuer.asked == 2


async def test_an_issuer_that_is_down_is_no_refusal_of_the_token(tmp_path: Path) -> None:
    async with opened(tmp_path, topology("http://127.0.0.1:9/keys")) as door:
        for _ in range(2):
            answer = await door.post("/Shelf/loaf", LOAF, Authorization=f"Bearer {token()}")
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "10")
            assert "127.0.0.1" not in answer.text
