"""Logs on servers: a line that is cut, a server that is killed, a second writer, settings that would lose something."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace
from redis.asyncio import Redis

from allotrope.kernel.errors import Refused
from allotrope.kernel.tables import Durability
from allotrope.logs import remote
from allotrope.logs.kafka import KafkaServer
from allotrope.logs.redis import RedisServer
from allotrope.logs.remote import RemoteLog
from allotrope.storage.ports import Envelope, Fenced
from allotrope.testing.passages import Passage
from tests import servers
from tests.logs.brokers import BREAKABLE, KINDS, PARAMETERS, Broker

PAYMENT = Envelope("Payment", "card", b"body", 1_700_000_000_000_000)


@pytest.fixture(params=PARAMETERS)
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Broker]:
    with KINDS[request.param](tmp_path / "server") as found:
        yield found


@pytest.fixture(params=BREAKABLE)
def breakable(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Broker]:
    with KINDS[request.param](tmp_path / "server") as found:
        yield found


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait less long than one should, for servers that are a process away."""
    monkeypatch.setattr("allotrope.logs.nats.ANSWER_S", 0.5)
    monkeypatch.setattr("allotrope.logs.redis.HELD_MS", 1500)
    monkeypatch.setattr("allotrope.logs.kafka.HELD_S", 8.0)


@contextlib.asynccontextmanager
async def opened(log: RemoteLog):  # type: ignore[no-untyped-def]  # an async iterator of the log
    await log.open()
    try:
        yield log
    finally:
        await log.close()


async def clients(log: RemoteLog, disturb: Callable[[int], None]) -> None:
    """Append as many at once, each its numbers in order; `disturb` hears of each that is answered."""
    answered = 0

    async def one(name: int) -> None:
        nonlocal answered
        for number in range(40):
            await log.append([replace(PAYMENT, key=f"{name}/{number}", request=f"{name}/{number}")])
            answered += 1
            disturb(answered)

    await asyncio.gather(*map(one, range(6)))


async def holds_all(log: RemoteLog) -> None:
    """Assert that the log has what all clients were told it has: once, in order."""
    entries = await log.read(limit=10_000)
    assert [entry.position for entry in entries] == [entry.envelope.origin for entry in entries]
    found = [entry.envelope.key for entry in entries]
    assert len(found) == 6 * 40
    for name in range(6):
        assert [key for key in found if key.startswith(f"{name}/")] == [f"{name}/{n}" for n in range(40)]


@pytest.mark.parametrize("swallowed", [False, True])
async def test_a_line_cut_in_the_middle_loses_and_doubles_nothing(
    breakable: Broker, *, swallowed: bool
) -> None:
    """With answers swallowed first, what was stored is known to the server alone, and has to be read back."""
    async with Passage(breakable.port) as line, opened(breakable.log(line.port)) as log:
        loop = asyncio.get_running_loop()

        def disturb(answered: int) -> None:
            if answered % 60 == 0:
                line.swallowed = swallowed
                loop.call_later(0.01, line.cut)
                loop.call_later(0.2, line.mend)

        await clients(log, disturb)
        await holds_all(log)


async def test_a_server_killed_in_the_middle_loses_and_doubles_nothing(broker: Broker) -> None:
    async with opened(broker.log()) as log:

        def disturb(answered: int) -> None:
            if answered == 100:
                broker.bounce()

        await clients(log, disturb)
        await holds_all(log)
    async with opened(broker.log()) as log:
        await holds_all(log)
        (entry,) = await log.append([replace(PAYMENT, request="5/39")])
        assert entry.envelope.key == "5/39"


async def test_a_second_writer_is_refused_until_the_first_has_gone(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "OPENING_S", 0.5)
    first, second = broker.log(), broker.log()
    async with opened(first):
        await first.append([PAYMENT])
        with pytest.raises(Refused, match=r"in use by .*; stop that process"):
            await second.open()
        await second.close()
        assert len(await first.append([PAYMENT])) == 1
    async with opened(broker.log()) as third:
        assert (await third.append([PAYMENT]))[0].envelope.origin == 3


async def test_who_was_cut_off_and_replaced_writes_nothing_more(breakable: Broker) -> None:
    """A host that was away for so long that another one took over must not mix its entries into the other's."""
    async with Passage(breakable.port) as line:
        first = breakable.log(line.port)
        await first.open()
        await first.append([PAYMENT])
        line.cut()
        late = asyncio.ensure_future(first.append([replace(PAYMENT, key="late")]))
        async with opened(breakable.log()) as second:
            await second.append([replace(PAYMENT, key="second")])
            line.mend()
            with pytest.raises(Refused):
                await late
            with pytest.raises(Refused):
                await first.append([PAYMENT])
            await first.close()
            await second.append([replace(PAYMENT, key="third")])
            assert [each.envelope.key for each in await second.read()] == ["card", "second", "third"]


async def test_what_an_opening_needs_is_found_again(broker: Broker) -> None:
    """Origin, marks and request ids, from the end of a log that is longer than one stretch between two states."""
    async with opened(broker.log()) as log:
        await log.append([replace(PAYMENT, request=str(number)) for number in range(1500)])
        derived = replace(PAYMENT, origin=1, path="/A.on#000")
        await log.relay("shop", [(number, derived) for number in range(1, 900)])
        await log.relay("other", [(1, derived)])
    async with opened(broker.log()) as log:
        await log.relay("shop", [(899, derived), (900, derived)])
        known, new = await log.append([replace(PAYMENT, request="7"), PAYMENT])
        assert (known.position, new.position, new.envelope.origin) == (8, 2402, 1501)
        assert len(await log.read(2_000, 1000)) == 403


async def test_what_a_lost_effect_had_published_is_not_stored_twice(broker: Broker) -> None:
    """A power cut may take the newest commits of the ledger: their events come once more, under new numbers."""
    derived = replace(PAYMENT, origin=1, path="/A.on#000")
    async with opened(broker.log()) as log:
        await log.append([PAYMENT] * 2)
        await log.relay("shop", [(1, derived)])
    async with opened(broker.log()) as log:
        await log.relay("shop", [(1_000_000_001, derived), (1_000_000_002, replace(derived, origin=2))])
    async with opened(broker.log()) as log:
        await log.append([PAYMENT])
        await log.relay("shop", [(1_000_000_003, derived), (1_000_000_004, replace(derived, origin=3))])
        stored = [each.envelope.origin for each in await log.read() if each.envelope.path]
        assert stored == [1, 2, 3]


async def test_what_is_too_large_is_refused_alone(broker: Broker) -> None:
    async with opened(broker.log()) as log:
        huge = replace(PAYMENT, body=bytes(log.server.largest))
        results = await asyncio.gather(
            *(log.append([each]) for each in (PAYMENT, huge, PAYMENT)), return_exceptions=True
        )
        assert isinstance(results[1], Refused)
        assert "at most; keep it in a file" in str(results[1])
        assert [entry.envelope.body for entry in await log.read()] == [b"body"] * 2


async def test_a_log_belongs_to_one_app_with_its_partitions(broker: Broker) -> None:
    async with opened(broker.log()) as log:
        await log.append([PAYMENT])
    for server, owner, partitions, said in (
        (broker.log().server, "fraud", 4, "is of the app `shop`"),
        (broker.log().server, "shop", 8, "has 4 partitions, 8 were asked for"),
    ):
        other = RemoteLog(server, "process", partitions, owner)
        with pytest.raises(Refused, match=said):
            await other.open()
        await other.close()


async def test_a_server_that_takes_less_than_the_largest_event_is_refused(broker: Broker) -> None:
    log = RemoteLog(broker.log().server, "process", 4, "shop", 1 << 30)
    with pytest.raises(Refused, match=r"an event may have 1,073,741,824 .* set `largest_kb`"):
        await log.open()
    await log.close()


async def test_a_server_that_is_away_at_the_start_is_named(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "OPENING_S", 0.2)
    log = broker.log(servers.free_port())
    with pytest.raises(Refused, match=r"not reached for 0\.2 s .* correct `url`"):
        await log.open()
    await log.close()


@pytest.mark.service
async def test_a_stream_that_forgets_is_refused(tmp_path: Path) -> None:
    """Somebody else has made it, or set it anew: what it is set to is read back at each start."""
    import nats
    from nats.js.api import StorageType, StreamConfig

    with KINDS["nats"](tmp_path / "server") as broker:
        client = await nats.connect(f"nats://127.0.0.1:{broker.port}")
        config = StreamConfig(
            name="allotrope_shop", subjects=["allotrope.shop"], max_age=60, storage=StorageType.MEMORY
        )
        await client.jetstream().add_stream(config)
        await client.close()
        log = broker.log(name="shop")
        with pytest.raises(Refused, match=r"storage memory instead of file, max_age 60.* it would not keep"):
            await log.open()
        await log.close()


@pytest.mark.service
@pytest.mark.parametrize(
    ("settings", "level", "said"),
    [
        (("--appendonly", "no"), "process", "appendonly no instead of yes"),
        ((), "power", "appendfsync everysec instead of always"),
        (
            ("--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"), "process",
            "maxmemory-policy allkeys-lru instead of noeviction",
        ),
    ],
    ids=["no file", "not synced", "evicts"],
)  # fmt: skip
async def test_a_redis_that_keeps_less_is_refused(
    settings: tuple[str, ...], level: Durability, said: str, tmp_path: Path
) -> None:
    with servers.redis_server(tmp_path / "redis", *settings) as server:
        url = f"redis://127.0.0.1:{server.port}"
        log = RemoteLog(RedisServer(url, url, "shop", level), level)
        with pytest.raises(Refused, match=said):
            await log.open()
        await log.close()


@pytest.mark.service
async def test_a_full_server_takes_more_once_there_is_room(tmp_path: Path) -> None:
    with servers.redis_server(
        tmp_path / "redis", "--maxmemory", "4mb", "--maxmemory-policy", "noeviction"
    ) as server:
        url = f"redis://127.0.0.1:{server.port}"
        redis = RedisServer(url, url, "shop", "process")
        async with opened(RemoteLog(redis)) as log:
            await log.append([PAYMENT])
            with pytest.raises(Refused, match="not stored") as full:
                await log.append([replace(PAYMENT, body=bytes(4_000_000), request="r")])
            assert full.value.retry_after_s
            await Redis.from_url(url).config_set("maxmemory", "100mb")
            (entry,) = await log.append([replace(PAYMENT, body=bytes(4_000_000), request="r")])
            assert (entry.position, entry.envelope.origin) == (2, 2)


@pytest.mark.service
async def test_a_producer_that_is_shut_out_writes_nothing_more() -> None:
    """The mock cluster lets two producers of one id write; so it is told to answer as a Kafka would."""
    produce, fenced = 0, 47  # INVALID_PRODUCER_EPOCH
    with servers.kafka_mock() as mock:
        url = f"kafka://127.0.0.1:{mock.port}"
        async with opened(RemoteLog(KafkaServer(url, url, "shop"))) as log:
            await log.append([PAYMENT])
            mock.fail_next(produce, fenced)
            with pytest.raises(Fenced, match="another host writes this log now"):
                await log.append([PAYMENT])
            with pytest.raises(Fenced):
                await log.append([PAYMENT])
