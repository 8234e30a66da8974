"""The contract of a ledger: what every one must do, whatever holds it."""

import asyncio
from typing import Any

from msgspec.structs import replace

from allotrope.storage.ports import Commit, Envelope, Ledger
from allotrope.testing.contracts import Contract, Opened, refused

LEDGER = Contract("ledger")
DAY = 86_400_000_000
AT = 1_700_000_000_000_000
SCORED = Envelope("Scored", "card 1", b"\0", AT, 1, "/Scorer.score#000", trace="00-ab-cd-01")


def _effect(origin: int = 1, **parts: Any) -> Commit:
    return Commit("Scorer.score", origin, "", **{"at": AT, **parts})


@LEDGER.case
async def _rows_are_written_replaced_and_deleted(place: Opened) -> None:
    ledger: Ledger = place.now
    assert ledger.get("t", "a") is None
    await ledger.commit(_effect(1, writes=(("t", "a", b"1"), ("t", "b", b""), ("u", "a", b"3"))))
    await ledger.commit(_effect(2, writes=(("t", "a", b"2"), ("t", "missing", None), ("u", "a", None))))
    assert (ledger.get("t", "a"), ledger.get("t", "b"), ledger.get("u", "a")) == (b"2", b"", None)


@LEDGER.case
async def _a_scan_is_in_the_order_of_keys(place: Opened) -> None:
    ledger: Ledger = place.now
    keys = ["b", "", "a\0", "a", "é", "\U0001f600", "\uffff", "B"]
    await ledger.commit(_effect(writes=tuple(("t", key, key.encode()) for key in keys)))
    await ledger.commit(_effect(2, writes=(("tt", "z", b"z"),)))
    assert list(ledger.scan("t")) == [(key, key.encode()) for key in sorted(keys)]
    assert list(ledger.scan("none")) == []


@LEDGER.case
async def _an_effect_is_taken_once(place: Opened) -> None:
    ledger: Ledger = place.now
    first = _effect(writes=(("t", "a", b"1"),), outbox=(SCORED,), request="r", outcome=b"1", record=b"1")
    again = _effect(writes=(("t", "a", b"2"),), outbox=(SCORED,), request="r", outcome=b"2", record=b"2")
    assert await ledger.commit(first) is True
    assert await ledger.commit(again) is False
    assert (ledger.get("t", "a"), ledger.outcome("r")) == (b"1", b"1")
    assert ledger.outbox() == [(1, SCORED)]
    assert list(ledger.records()) == [("Scorer.score", 1, "", b"1")]


@LEDGER.case
async def _effects_of_other_consumers_and_paths_are_others(place: Opened) -> None:
    ledger: Ledger = place.now
    for consumer, path in (("B.on", "/x"), ("A.on", "/x"), ("A.on", "")):
        await ledger.commit(Commit(consumer, 3, path, record=b"r"))
    await ledger.commit(Commit("A.on", 2, "/z", record=b"r"))
    names = [("A.on", 2, "/z"), ("A.on", 3, ""), ("A.on", 3, "/x"), ("B.on", 3, "/x")]
    assert list(ledger.inbox()) == names
    assert list(ledger.records()) == [(*name, b"r") for name in names]
    assert list(ledger.records(2)) == [("A.on", 2, "/z", b"r")]


@LEDGER.case
async def _finished_origins_are_forgotten_and_not_taken_again(place: Opened) -> None:
    ledger: Ledger = place.now
    for origin in (1, 2, 5):
        await ledger.commit(_effect(origin))
    assert ledger.floor() == 0
    ledger.finish(5)
    ledger.finish(3)
    assert ledger.floor() == 5
    assert await ledger.commit(_effect(2, writes=(("t", "a", b"late"),))) is False
    await ledger.commit(_effect(6))
    assert ledger.get("t", "a") is None
    assert [origin for _, origin, _ in ledger.inbox()] == [5, 6]


@LEDGER.case
async def _the_outbox_keeps_its_order_and_never_a_number_twice(place: Opened) -> None:
    ledger: Ledger = place.now
    for origin in (1, 2):
        await ledger.commit(_effect(origin, outbox=(replace(SCORED, origin=origin), SCORED)))
    numbers = [number for number, _ in ledger.outbox()]
    assert numbers == [1, 2, 3, 4]
    assert ledger.outbox(limit=1) == [(1, SCORED)]
    await ledger.relayed(numbers)
    assert ledger.outbox() == []
    await ledger.commit(_effect(3, outbox=(SCORED,)))
    assert ledger.outbox() == [(5, SCORED)]


@LEDGER.case
async def _an_outcome_is_kept_for_a_day(place: Opened) -> None:
    ledger: Ledger = place.now
    await ledger.commit(_effect(1, request="old", outcome=b"1"))
    await ledger.commit(_effect(2, request="new", outcome=b"", at=AT + DAY - 1))
    assert (ledger.outcome("old"), ledger.outcome("new"), ledger.outcome("none")) == (b"1", b"", None)
    await ledger.commit(_effect(3, request="newer", outcome=b"3", at=AT + DAY))
    assert (ledger.outcome("old"), ledger.outcome("newer")) == (None, b"3")
    await ledger.commit(_effect(4, request="old", outcome=b"4", at=AT + DAY))
    assert ledger.outcome("old") == b"4"


@LEDGER.case
async def _commits_side_by_side_are_all_kept_in_order(place: Opened) -> None:
    ledger: Ledger = place.now

    async def one(name: int) -> None:
        for number in range(20):
            row = ("t", f"{name}", str(number).encode())
            event = replace(SCORED, key=f"{name}", origin=number)
            await ledger.commit(Commit(f"C{name}.on", number, "", (row,), (event,)))
            assert ledger.get("t", f"{name}") == row[2]

    await asyncio.gather(*map(one, range(8)))
    assert dict(ledger.scan("t")) == {str(name): b"19" for name in range(8)}
    outbox = [event for _, event in ledger.outbox()]
    for name in range(8):
        assert [event.origin for event in outbox if event.key == str(name)] == list(range(20))


@LEDGER.case
async def _a_closed_ledger_refuses(place: Opened) -> None:
    ledger: Ledger = place.now
    ledger.close()
    with refused("closed"):
        await ledger.commit(_effect())


@LEDGER.case
async def _what_was_committed_is_there_again(place: Opened) -> None:
    if not place.durable:
        return
    rows = (("t", "a", b"1"), ("t", "b", b"2"))
    whole = _effect(4, writes=rows, outbox=(SCORED, SCORED), request="r", outcome=b"o", record=b"d")
    await place.now.commit(whole)
    place.now.finish(3)
    await place.now.relayed([1, 2])
    ledger = await place.again()
    assert list(ledger.scan("t")) == [(key, row) for _, key, row in rows]
    assert (ledger.outcome("r"), ledger.floor()) == (b"o", 3)
    assert list(ledger.inbox()) == [("Scorer.score", 4, "")]
    assert list(ledger.records()) == [("Scorer.score", 4, "", b"d")]
    await ledger.commit(replace(whole, writes=(("t", "a", b"twice"),)))
    assert ledger.get("t", "a") == b"1"
    await ledger.commit(_effect(5, outbox=(SCORED,)))
    assert ledger.outbox() == [(3, SCORED)]


@LEDGER.case
async def _what_cannot_be_stored_fails_alone(place: Opened) -> None:
    if not place.durable:
        return
    results = await asyncio.gather(
        *(
            place.now.commit(_effect(origin, writes=(("t", str(origin), row),), outbox=(SCORED,)))
            for origin, row in ((1, b"1"), (2, 2.5), (3, b"3"))
        ),
        return_exceptions=True,
    )
    assert results[0] is results[2] is True
    assert isinstance(results[1], Exception)
    ledger = await place.again()
    assert list(ledger.scan("t")) == [("1", b"1"), ("3", b"3")]
    assert [number for number, _ in ledger.outbox()] == [1, 2]
