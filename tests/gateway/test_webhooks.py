"""Webhooks: what a receiver gets and can check, what comes again after failures and crashes, where nothing is sent."""

import asyncio
import base64
import contextlib
import hashlib
import hmac
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from aiohttp import web

from allotrope import Refused
from allotrope.gateway.webhooks import subscriptions
from allotrope.gateway.webhooks.deliveries import Deliveries, Pace
from allotrope.gateway.webhooks.post import Post
from allotrope.gateway.webhooks.reach import check_address, is_public
from allotrope.gateway.webhooks.signing import Message, headers, message
from allotrope.gateway.webhooks.states import kept
from allotrope.gateway.webhooks.subscriptions import Subscription, added, removed, rotated
from tests.gateway.doors import Door, opened, until
from tests.gateway.test_live import pay
from tests.gateway.test_requests import LATER, bank

HASTY = Pace(waits_s=(0.05, 0.05, 0.05))


class Receiver:
    """Somebody who takes webhooks, and may fail at it."""

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.answers: list[int] = []
        self.url = ""

    async def take(self, request: web.Request) -> web.Response:
        self.got.append(
            ({name.lower(): value for name, value in request.headers.items()}, await request.read())
        )
        status = self.answers.pop(0) if self.answers else 200
        return web.Response(status=status, headers={"location": self.url} if status == 302 else {})

    def cards(self) -> list[str]:
        return [msgspec.json.decode(body)["data"]["card"] for _, body in self.got]


@contextlib.asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    app = web.Application()
    app.router.add_post("/hook", receiver.take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    receiver.url = f"http://127.0.0.1:{port}/hook"
    try:
        yield receiver
    finally:
        await runner.cleanup()


def wanted(url: str, *events: str, name: str = "shop", **more: str) -> Subscription:
    return Subscription(name, url, events or ("Noted",), "", "", private=True, **more)


@contextlib.asynccontextmanager
async def delivering(door: Door, folder: Path, pace: Pace = HASTY) -> AsyncIterator[None]:
    """Deliver until this is left, which ends it wherever it is."""
    deliveries = Deliveries(
        door.gate.link, folder, lambda name: f"msg_{hashlib.md5(name.encode()).hexdigest()}", pace
    )
    task = asyncio.create_task(deliveries.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def begun(folder: Path, name: str = "shop") -> None:
    await until(lambda: kept(folder, name) is not None)


def verified(secret: str, headers: dict[str, str], body: bytes) -> bool:
    """Return whether a message is signed with a secret, as its receiver would find out."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    said = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    mark = "v1," + base64.b64encode(hmac.new(key, said, hashlib.sha256).digest()).decode()
    return mark in headers["webhook-signature"].split(" ")


async def test_a_receiver_gets_what_it_wants_signed_and_in_order(tmp_path: Path) -> None:
    async with opened(tmp_path, LATER, what=bank) as door, receiving() as receiver:
        await pay(door, "before", 1.0)
        await door.host.settled()
        hook = added(tmp_path, wanted(receiver.url))
        async with delivering(door, tmp_path):
            await begun(tmp_path)
            for card in ("a", "b", "c"):
                await pay(door, card, 2.0)
                await door.host.settled()
            await until(lambda: len(receiver.got) == 3)
            first, body = receiver.got[0]
            said = msgspec.json.decode(body)
            assert (said["type"], said["data"]) == ("Noted", {"card": "a", "total": 2.0})
            assert said["timestamp"].endswith("Z")
            assert receiver.cards() == ["a", "b", "c"]
            assert all(verified(hook.secret, *each) for each in receiver.got)
            assert not verified(subscriptions.fresh(), first, body)
            assert not verified(hook.secret, first, body + b" ")
            assert len({given["webhook-id"] for given, _ in receiver.got}) == 3
            removed(tmp_path, "shop")
            added(tmp_path, wanted(receiver.url, "Paid", name="other"))
            await begun(tmp_path, "other")  # by then it has seen both changes
            await pay(door, "d", 2.0)
            await until(lambda: len(receiver.got) == 4)
            await door.host.settled()
        assert msgspec.json.decode(receiver.got[3][1])["type"] == "Paid"
        assert receiver.cards() == ["a", "b", "c", "d"]


async def test_what_fails_comes_again_under_the_same_id_and_nothing_overtakes_it(tmp_path: Path) -> None:
    async with opened(tmp_path, LATER, what=bank) as door, receiving() as receiver:
        added(tmp_path, wanted(receiver.url))
        receiver.answers = [500, 302, 503]
        async with delivering(door, tmp_path):
            await begun(tmp_path)
            await pay(door, "a", 1.0)
            await door.host.settled()
            await pay(door, "b", 1.0)
            await until(lambda: len(receiver.got) == 5)
        assert receiver.cards() == ["a", "a", "a", "a", "b"]
        assert len({given["webhook-id"] for given, _ in receiver.got}) == 2
        state = kept(tmp_path, "shop")
        assert state is not None
        assert (state.sent, state.failures, state.since) == (2, 0, 0.0)


async def test_it_goes_on_where_it_was_after_a_crash(tmp_path: Path) -> None:
    async with receiving() as receiver:
        added(tmp_path, wanted(receiver.url))
        async with opened(tmp_path, LATER, what=bank) as door:
            receiver.answers = [200, 200] + [500] * 3
            async with delivering(door, tmp_path, Pace(waits_s=(0.05, 0.05, 3600.0))):
                await begun(tmp_path)
                for number in range(6):
                    await pay(door, f"c{number}", 1.0)
                    await door.host.settled()
                await until(lambda: len(receiver.got) == 5)
        cards = receiver.cards()
        assert cards[:2] == ["c0", "c1"]
        path = tmp_path / "webhooks" / "shop.json"
        state = kept(tmp_path, "shop")
        assert state is not None
        assert state.failures == 3
        state.next = 0.0  # the hour has passed
        path.write_bytes(msgspec.json.encode(state))
        receiver.answers = []
        async with opened(tmp_path, LATER, what=bank) as door, delivering(door, tmp_path):
            await until(lambda: len(receiver.got) == 9)
        assert receiver.cards()[5:] == ["c2", "c3", "c4", "c5"]


async def test_what_nobody_takes_is_given_up_and_shown(tmp_path: Path) -> None:
    async with opened(tmp_path, LATER, what=bank) as door, receiving() as receiver:
        added(tmp_path, wanted(receiver.url))
        receiver.answers = [400] * 4
        async with delivering(door, tmp_path):
            await begun(tmp_path)
            await pay(door, "a", 1.0)
            await door.host.settled()
            await pay(door, "b", 1.0)
            await until(lambda: len(receiver.got) == 5)
            await until(lambda: (state := kept(tmp_path, "shop")) is not None and state.sent == 1)
        state = kept(tmp_path, "shop")
        assert state is not None
        assert (state.buried, state.dead[0].kind, state.dead[0].reason) == (1, "Noted", "answered 400")


@pytest.mark.parametrize(
    ("answer", "pace"), [(410, HASTY), (500, Pace(waits_s=(0.05,) * 50, patience_s=0.2))]
)
async def test_who_never_takes_anything_is_left_alone(
    tmp_path: Path, answer: int, pace: Pace, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(tmp_path, LATER, what=bank) as door, receiving() as receiver:
        added(tmp_path, wanted(receiver.url))
        receiver.answers = [answer] * 40
        async with delivering(door, tmp_path, pace):
            await begun(tmp_path)
            await pay(door, "a", 1.0)
            await until(lambda: "webhook shop is disabled" in caplog.text)
        state = kept(tmp_path, "shop")
        assert state is not None
        assert state.disabled
        assert receiver.url not in caplog.text


async def test_two_secrets_sign_while_one_is_replaced(tmp_path: Path) -> None:
    async with receiving() as receiver:
        older = added(tmp_path, wanted(receiver.url))
        newer = rotated(tmp_path, "shop")
        post = Post()
        sent = message("msg_1", "Noted", 0, {})
        try:
            assert (await post.send(newer, sent, newer.until - 1)).good
            assert (await post.send(newer, sent, newer.until + 1)).good
        finally:
            await post.close()
        during, after = receiver.got
        assert verified(older.secret, *during)
        assert verified(newer.secret, *during)
        assert verified(newer.secret, *after)
        assert not verified(older.secret, *after)


def test_it_is_signed_as_the_libraries_of_standard_webhooks_do() -> None:
    """The case that their own tests have."""
    sent = Message("msg_p5jXN8AQM9LWM0D4loKWxJek", b'{"test": 2432232314}')
    found = headers(sent, ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",), 1614265330.0)
    assert found["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.0.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0", "100.64.0.1", "224.0.0.1", "::1", "::",
        "fe80::1", "fd00::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "fe80::1%eth0",
    ],
)  # fmt: skip
def test_private_addresses_are_none_to_send_to(address: str) -> None:
    assert not is_public(address)
    if "%" not in address:
        host = f"[{address}]" if ":" in address else address
        with pytest.raises(Refused, match="--allow-private"):
            check_address(f"https://{host}/x", private=False)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("ftp://shop.example/x", "https://HOST"),
        ("https://", "https://HOST"),
        ("https://ann:pw@shop.example/x", "no password"),
        ("http://shop.example/x", "by https"),
        ("https://localhost/x", "no public address"),
        ("https://shop.example:port/x", "cannot be read"),
    ],
)
def test_a_url_that_is_none_is_refused(url: str, says: str) -> None:
    with pytest.raises(Refused, match=says):
        check_address(url, private=False)


@pytest.mark.parametrize("host", ["localtest", "127.1", "2130706433", "0x7f.1"])
async def test_a_name_of_a_private_address_is_not_connected_to(
    host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with receiving() as receiver:
        port = receiver.url.split(":")[2].partition("/")[0]
        hook = Subscription("shop", f"https://{host}:{port}/hook", ("Noted",), subscriptions.fresh(), "")
        post = Post()
        try:
            end = await post.send(hook, message("msg_1", "Noted", 0, {}), 0.0)
        finally:
            await post.close()
        assert not end.good
        assert end.status == 0
        assert receiver.got == []
