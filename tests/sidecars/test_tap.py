"""The tap: what it tells of a call, and that nothing it meets changes an answer."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from time import process_time

import msgspec
import pytest

from allotrope.kernel import codec
from allotrope.runtime.records import Outcome
from allotrope.runtime.sites.wire import Letter, Question, Sent, Served, Taken, answered, thrown
from allotrope.sidecars.entries import Call, Seen, read, seen, status_of
from allotrope.sidecars.ring import Reader, Ring
from allotrope.sidecars.tap import Tap
from allotrope.storage.ports import Envelope
from tests.sidecars.shop import Unknown

TRACE = f"00-{'a' * 32}-{'b' * 16}-01"


def asked(size: int = 3) -> Letter:
    arguments = msgspec.Raw(codec.encode(("ann", "x" * size)))
    return Letter(
        codec.encode(Question("Desk.open", "Shop", "buy", 7, "/a#0", 1, "t", "r", TRACE, 5, arguments))
    )


def sent(size: int = 3) -> Letter:
    envelope = Envelope(
        "Order", "ann", codec.encode({"customer": "x" * size}), 1, 8, "/b#0", "r", "t", TRACE, 1
    )
    return Letter(codec.encode(Sent("Desk.take", envelope, "", 1)))


def told(ring: Ring) -> list[Call]:
    reader = Reader(ring.descriptor)
    reader.take()
    found = reader.take()
    reader.confirm(reader.position)
    return [read(data) for _, data in found]


async def of(served: Served, method: str, letter: Letter) -> Letter:
    return await served.methods[method](letter, None)


@pytest.mark.parametrize("size", [3, 100_000])
async def test_what_it_tells(size: int) -> None:
    async def answer(letter: Letter, left_s: float | None) -> Letter:
        return answered(2.0)

    ring = Ring(1 << 20)
    served = Tap(ring).over(Served({"ask": answer, "deliver": answer, "read": answer}, {}))
    assert await of(served, "ask", asked(size)) == answered(2.0)
    await of(served, "deliver", sent(size))
    await of(served, "read", Letter(b""))
    first, second = told(ring)
    assert seen(first, None) == Seen("Desk.open", 7, "/a#0", "t", "r", "a" * 32, None)
    assert seen(second, None) == Seen("Desk.take", 8, "/b#0", "t", "r", "a" * 32, None)
    assert (first.asked, first.answered) == (len(asked(size).body), len(answered(2.0).body))
    assert max(len(first.letter), len(second.letter)) < 1100


async def test_arguments_by_name() -> None:
    async def answer(letter: Letter, left_s: float | None) -> Letter:
        return answered(None)

    ring = Ring(1 << 20)
    served = Tap(ring, most=1 << 14).over(Served({"ask": answer, "deliver": answer}, {}))
    for size in (3, 100_000):
        await of(served, "ask", asked(size))
        await of(served, "deliver", sent(size))
    names = {"Desk.open": ("customer", "note")}
    given = [seen(call, names).arguments for call in told(ring)]
    assert given == [{"customer": "ann", "note": "xxx"}, {"customer": "xxx"}, None, None]


FAULT = codec.encode(Outcome("", answer=b"x" * 5000, fault="Unknown"))


@pytest.mark.parametrize(
    ("way", "reply", "status"),
    [
        (0, answered(1), "ok"),
        (0, answered("x" * 5000), "ok"),
        (0, thrown(Unknown(customer="a")), "Unknown"),
        (0, thrown(ValueError("x" * 5000)), "Failed"),
        (1, answered(Taken(())), "ok"),
        (1, answered(Taken((), parked=1)), "Parked"),
        (1, answered(Taken((), codec.encode(Outcome("")))), "ok"),
        (1, answered(Taken((), FAULT)), "Unknown"),
        (1, answered(Taken((), codec.encode(Outcome("", failure=("a", "b", "c"))))), "Failed"),
        (1, answered(Taken((), codec.encode(Outcome("", refusal="no")))), "Refused"),
    ],
)
async def test_how_a_call_ended(way: int, reply: Letter, status: str) -> None:
    async def answer(letter: Letter, left_s: float | None) -> Letter:
        return reply

    ring = Ring(1 << 20)
    served = Tap(ring).over(Served({"ask": answer, "deliver": answer}, {}))
    await of(served, ("ask", "deliver")[way], (asked, sent)[way]())
    (call,) = told(ring)
    assert status_of(call.way, call.reply) == status
    assert call.answered == len(reply.body)


async def test_a_call_that_is_cut_and_a_stream() -> None:
    async def never(letter: Letter, left_s: float | None) -> Letter:
        return await asyncio.get_running_loop().create_future()

    async def pieces(letter: Letter, left_s: float | None) -> AsyncGenerator[Letter, None]:
        for number in range(3):
            yield answered(number)
        yield thrown(Unknown(customer="a"))

    ring = Ring(1 << 20)
    served = Tap(ring).over(Served({"ask": never}, {"stream": pieces}))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(of(served, "ask", asked()), 0.01)
    found = [piece async for piece in served.streams["stream"](asked(), None)]
    assert len(found) == 4
    cut, streamed = told(ring)
    assert status_of(cut.way, cut.reply) == "cut"
    assert status_of(streamed.way, streamed.reply) == "Unknown"
    assert streamed.answered == sum(len(piece.body) for piece in found)


async def test_no_letter_can_hurt_a_call() -> None:
    async def answer(letter: Letter, left_s: float | None) -> Letter:
        return answered(1)

    ring = Ring(1 << 10)
    served = Tap(ring).over(Served({"ask": answer}, {}))
    assert await of(served, "ask", Letter(b"\xc1" * 5000)) == answered(
        1
    )  # too large to go whole, and no letter
    assert await of(served, "ask", asked()) == answered(1)
    assert (ring.dropped, ring.passed) == (1, 1)


async def test_its_price(note: Callable[[str], None]) -> None:
    reply = answered(Taken(()))

    async def answer(letter: Letter, left_s: float | None) -> Letter:
        return reply

    ring = Ring(1 << 20)
    reader, plain, letter = Reader(ring.descriptor), answer, asked(100)
    watched = Tap(ring).over(Served({"ask": answer}, {})).methods["ask"]
    best: dict[str, float] = {}
    for _ in range(7):
        for name, method in (("plain", plain), ("watched", watched)):
            start = process_time()
            for _ in range(2000):
                await method(letter, None)
            spent = (process_time() - start) / 2000 * 1e6
            best[name] = min(best.get(name, spent), spent)
            reader.take()
            reader.confirm(reader.position)
    note(f"sidecar: a watched call costs {best['watched'] - best['plain']:.2f} us CPU more (aim: under 3)")
