"""The contract of a log: what every one must do, whatever carries it."""

import asyncio
from itertools import chain

from msgspec.structs import replace

from allotrope.storage.ports import Envelope, Log, Removed, ShortLog
from allotrope.storage.positions import position_at
from allotrope.testing.contracts import Contract, Opened, refused

LOG = Contract("log")
DAY = 86_400_000_000
PAYMENT = Envelope("Payment", "card 1", b"\0body", 1_700_000_000_000_000, tenant="shop", trace="00-ab-cd-01")


def _derived(origin: int, key: str = "card 1") -> Envelope:
    return Envelope("Scored", key, b"score", PAYMENT.at, origin, "/Scorer.score#000")


@LOG.case
async def _inputs_get_origins_in_order_from_one(place: Opened) -> None:
    log: Log = place.now
    entries = await log.append([PAYMENT, replace(PAYMENT, key="card 2")])
    entries += await log.append([PAYMENT])
    assert [entry.envelope.origin for entry in entries] == [1, 2, 3]
    assert [entry.position for entry in entries] == [1, 2, 3]
    assert [replace(entry.envelope, origin=0, key="card 1") for entry in entries] == [PAYMENT] * 3
    assert await log.read() == entries


@LOG.case
async def _derived_events_take_positions_but_no_origin(place: Opened) -> None:
    """Else an origin, and all that is drawn from it, would depend on how fast the relay was."""
    log: Log = place.now
    await log.append([PAYMENT])
    await log.relay("ledger", [(1, _derived(1)), (2, _derived(1))])
    (entry,) = await log.append([PAYMENT])
    assert (entry.position, entry.envelope.origin) == (4, 2)
    assert [each.envelope.path for each in await log.read()] == [
        "",
        "/Scorer.score#000",
        "/Scorer.score#000",
        "",
    ]


@LOG.case
async def _a_key_stays_in_its_partition(place: Opened) -> None:
    log: Log = place.now
    keys = [f"card {number % 10}" for number in range(40)]
    await log.append([replace(PAYMENT, key=key) for key in keys])
    await log.relay("ledger", [(1, _derived(1, "card 3"))])
    places: dict[str, set[int]] = {}
    for entry in await log.read():
        places.setdefault(entry.envelope.key, set()).add(entry.partition)
    assert all(len(found) == 1 for found in places.values())
    assert len({min(found) for found in places.values()}) > 1


@LOG.case
async def _a_request_has_one_origin(place: Opened) -> None:
    log: Log = place.now
    asked = replace(PAYMENT, request="r1")
    first, twice = await log.append([asked, asked])
    (again,) = await log.append([replace(asked, at=asked.at + DAY - 1)])
    assert first == twice == again
    assert len(await log.read()) == 1


@LOG.case
async def _another_tenant_operation_id_or_day_is_another_request(place: Opened) -> None:
    log: Log = place.now
    asked = replace(PAYMENT, request="r1")
    await log.append([asked])
    others = (
        replace(asked, tenant="x"), replace(asked, kind="Refund"), replace(asked, request="r2"),
        replace(asked, at=asked.at + DAY),
    )  # fmt: skip
    for origin, other in enumerate(others, 2):
        (entry,) = await log.append([other])
        assert entry.envelope.origin == origin
        assert await log.append([other]) == [entry]


@LOG.case
async def _a_relay_repeated_stores_nothing_twice(place: Opened) -> None:
    log: Log = place.now
    events = [(number, _derived(number)) for number in range(1, 6)]
    await log.relay("ledger a", events[:3])
    await log.relay("ledger a", events[1:])
    await log.relay("ledger b", events[:1])
    await log.relay("ledger a", [])
    assert [entry.envelope.origin for entry in await log.read()] == [1, 2, 3, 4, 5, 1]


@LOG.case
async def _reading_starts_and_stops_where_it_is_told(place: Opened) -> None:
    log: Log = place.now
    entries = await log.append([replace(PAYMENT, key=str(number)) for number in range(10)])
    assert await log.read(4, limit=3) == entries[3:6]
    assert await log.read(10) == entries[9:]
    assert await log.read(11) == []


@LOG.case
async def _appends_side_by_side_are_all_kept_in_order(place: Opened) -> None:
    log: Log = place.now

    async def one(name: int) -> list[int]:
        return [
            (await log.append([replace(PAYMENT, key=f"{name}/{number}")]))[0].position for number in range(20)
        ]

    positions = await asyncio.gather(*map(one, range(8)))
    assert sorted(chain.from_iterable(positions)) == list(range(1, 161))
    assert all(found == sorted(found) for found in positions)
    found = [entry.envelope.key for entry in await log.read()]
    for name in range(8):
        assert [key for key in found if key.startswith(f"{name}/")] == [f"{name}/{n}" for n in range(20)]


@LOG.case
async def _origins_that_a_ledger_knows_are_not_given_again(place: Opened) -> None:
    """A power cut may take the log's newest entries and leave the ledger their effects."""
    log: Log = place.now
    await log.append([PAYMENT])
    log.skip(7)
    log.skip(3)
    assert [entry.envelope.origin for entry in await log.append([PAYMENT])] == [8]
    if place.durable:
        log = await place.again()
        assert [entry.envelope.origin for entry in await log.append([PAYMENT])] == [9]


@LOG.case
async def _a_closed_log_refuses(place: Opened) -> None:
    log: Log = place.now
    await log.close()
    with refused("closed"):
        await log.append([PAYMENT])


@LOG.case
async def _what_was_acknowledged_is_there_again(place: Opened) -> None:
    if not place.durable:
        return
    asked = replace(PAYMENT, request="r1")
    entries = await place.now.append([asked, PAYMENT])
    await place.now.relay("ledger", [(7, _derived(1))])
    place.now.acknowledge("view", 2)
    log = await place.again()
    assert (await log.read())[:2] == entries
    assert await log.append([asked]) == entries[:1]
    await log.relay("ledger", [(7, _derived(1)), (8, _derived(2))])
    (entry,) = await log.append([PAYMENT])
    assert (entry.position, entry.envelope.origin) == (5, 3)


@LOG.case
async def _what_cannot_be_stored_fails_alone(place: Opened) -> None:
    if not place.durable:
        return
    bad = replace(PAYMENT, key="\ud800")
    results = await asyncio.gather(
        *(place.now.append([envelope]) for envelope in (PAYMENT, bad, PAYMENT)), return_exceptions=True
    )
    assert isinstance(results[1], UnicodeEncodeError)
    assert [entry.envelope.origin for entry in await (await place.again()).read()] == [1, 2]


@LOG.case
async def _a_time_has_a_position(place: Opened) -> None:
    log: Log = place.now
    await log.append([replace(PAYMENT, at=PAYMENT.at + 10 * number) for number in range(20)])
    await log.relay("ledger", [(1, replace(_derived(20), at=PAYMENT.at + 190))])
    moments = (PAYMENT.at - 1, PAYMENT.at, PAYMENT.at + 1, PAYMENT.at + 185, PAYMENT.at + 191)
    assert [await position_at(log, moment) for moment in moments] == [1, 1, 2, 20, 22]


@LOG.case
async def _what_is_removed_leaves_the_other_numbers_as_they_are(place: Opened) -> None:
    log = place.now
    if not isinstance(log, ShortLog):
        return
    inputs = [
        replace(PAYMENT, at=PAYMENT.at + number, kind="Payment" if number % 3 else "Kept")
        for number in range(9)
    ]
    entries = await log.append([replace(each, request=str(number)) for number, each in enumerate(inputs)])
    left = [entry for entry in entries if entry.envelope.kind == "Kept" or entry.position > 6]
    while await log.shorten(7, {"Payment": PAYMENT.at + 100}, limit=2):
        assert await log.read(0, 1)
    assert await log.read() == left
    assert await log.read(2, 2) == left[1:3]
    log = await place.again() if place.durable else log
    assert await log.read() == left
    assert log.removed() == {"Payment": Removed(4, 6, PAYMENT.at + 5)}
    assert await log.append([left[-1].envelope]) == left[-1:]
    while await log.shorten(10, {"Payment": PAYMENT.at + 100, "Kept": PAYMENT.at + 100}):
        pass
    assert await log.read() == []
    log = await place.again() if place.durable else log
    (entry,) = await log.append([PAYMENT])
    assert (entry.position, entry.envelope.origin) == (10, 10)
    assert await log.read() == [entry]


@LOG.case
async def _of_each_key_the_newest_may_stay_alone(place: Opened) -> None:
    log = place.now
    if not isinstance(log, ShortLog):
        return
    await log.append([replace(PAYMENT, key=f"card {number % 3}") for number in range(10)])
    await log.relay(
        "ledger", [(1, replace(_derived(2, "card 1"), kind="Payment"))]
    )  # late: older than the newest
    while await log.shorten(12, {"Payment": -1}, limit=3):
        pass
    assert [(entry.position, entry.envelope.key) for entry in await log.read()] == [
        (8, "card 1"), (9, "card 2"), (10, "card 0"),
    ]  # fmt: skip
