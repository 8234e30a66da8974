"""An app that knows Models by its contract only, and topologies that say where it runs."""

from collections.abc import AsyncIterator

from allotrope import App, Fault, Message, Refused, Table, command, component, query


class Point(Message):
    x: float
    tags: tuple[str, ...] = ()


class Scored(Message):
    value: float
    why: tuple[str, ...] = ()


class Outside(Fault):
    x: float


@component
class Models:
    """As `allotrope contract stub` writes it."""

    __foreign__ = ("lab", "0123456789abcdef")

    @query(faults=(Outside,))
    async def score(self, point: Point) -> Scored:
        raise Refused("Models.score runs elsewhere")

    @query
    async def echo(self) -> tuple[str, ...]:
        raise Refused("Models.echo runs elsewhere")

    @command(key="name")
    async def train(self, name: str, step: float) -> float:
        raise Refused("Models.train runs elsewhere")

    @query
    async def count(self) -> int:
        raise Refused("Models.count runs elsewhere")

    @query
    async def words(self, upto: int) -> AsyncIterator[str]:
        raise Refused("Models.words runs elsewhere")
        yield


@component
class Desk:
    models: Models
    kept: Table[float]

    @query
    async def rate(self, x: float) -> str:
        try:
            return f"{(await self.models.score(Point(x=x))).value}"
        except Outside as outside:
            return f"outside {outside.x}"

    @query(deadline_s=0.3)
    async def hasty(self) -> float:
        return (await self.models.score(Point(x=777))).value

    @query(deadline_s=5.0)
    async def heard(self) -> tuple[str, ...]:
        return await self.models.echo()

    @command(key="name")
    async def keep(self, name: str, x: float) -> float:
        value = (await self.models.score(Point(x=x))).value
        await self.kept.put(name, value)
        return value


app = App("lab", Models, Desk)
TOPOLOGY = """
durability = "process"
reply = "effect"

[unit.desk]
components = ["Desk"]

[unit.models]
components = ["Models"]
foreign = "{address}"
credential = "{credential}"

[edge."*"]
via = "rpc"

[topic."*"]
via = "log"
"""
