"""An app with every kind of operation that a gateway has to carry, and the gates that hold it up in a test."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from decimal import Decimal
from typing import Literal

from allotrope import App, Event, Fault, Message, Refused, Table, command, component, on, query

GATES: dict[str, asyncio.Event] = {}
CLOSED: list[str] = []
RUN: list[str] = []


class Baked(Event, key="id"):
    """A loaf has left the oven."""

    id: str
    kind: Literal["rye", "wheat"]
    grams: int
    price: Decimal = Decimal("1.00")
    at: datetime | None = None


class Loaf(Message):
    id: str
    kind: str
    grams: int


class SoldOut(Fault):
    """There is no such loaf."""

    id: str
    left: int = 0


class Unknown(Fault):
    """Nobody has heard of it."""

    status = 404
    id: str


@component
class Shelf:
    loaves: Table[Loaf]

    @on(Baked)
    async def put(self, baked: Baked) -> None:
        await self.loaves.put(baked.id, Loaf(baked.id, baked.kind, baked.grams))

    @query
    async def loaf(self, id: str) -> Loaf | None:
        """Return a loaf.

        None when there is none.
        """
        return await self.loaves.get(id)

    @query
    async def weigh(self, grams: int, times: float = 1.0, flat: bool = False, kind: str = "") -> float:
        return grams * max(min(times, 1e9), -1e9) * (not flat)

    @query
    async def heavier(self, loaf: Loaf, others: tuple[Loaf, ...] = ()) -> tuple[Loaf, ...]:
        return tuple(other for other in others if other.grams > loaf.grams)

    @command(key="id", faults=(SoldOut, Unknown))
    async def sell(self, id: str, pieces: int = 1) -> Decimal:
        RUN.append(id)
        if id == "never":
            raise Unknown(id=id)
        if await self.loaves.get(id) is None:
            raise SoldOut(id=id)
        await self.loaves.delete(id)
        return Decimal("2.50") * pieces


@component
class Oven:
    secret: str = "hunter2-hunter2"

    @query
    async def bake(self, id: str) -> str:
        """Return once the gate of `id` is open."""
        RUN.append(id)
        await GATES.setdefault(id, asyncio.Event()).wait()
        return id

    @command(key="id")
    async def burn(self, id: str) -> str:
        await GATES.setdefault(id, asyncio.Event()).wait()
        RUN.append(id)
        return id

    @query
    async def explode(self) -> str:
        raise RuntimeError(f"in /srv/oven.py with {self.secret}")

    @query
    async def refuse(self) -> str:
        raise Refused("come back with flour")

    @query
    async def rise(self, pieces: int, wait: str = "", fail: bool = False) -> AsyncIterator[Loaf]:
        try:
            for number in range(pieces):
                yield Loaf(str(number), "rye", number)
            if wait:
                await GATES.setdefault(wait, asyncio.Event()).wait()
            if fail:
                raise RuntimeError("it fell")
        finally:
            CLOSED.append(wait)

    @query
    async def crumbs(self, size: int) -> str:
        return "x" * size


app = App("bakery", Shelf, Oven)
