"""Models as its own team has it: an app of its own, behind a gateway of its own."""

from collections.abc import AsyncIterator

from allotrope import App, Table, command, component, query
from tests.gateway.foreign.lab import Outside, Point, Scored


@component
class Models:
    weights: Table[float]
    limit: float = 1000.0

    @query(faults=(Outside,))
    async def score(self, point: Point) -> Scored:
        if not 0 <= point.x <= self.limit:
            raise Outside(x=point.x)
        if point.x == 500:
            raise ZeroDivisionError("it broke")
        return Scored(point.x * (await self.weights.get("w") or 1.0), ("x", *point.tags))

    @query
    async def echo(self) -> tuple[str, ...]:
        return ()

    @command(key="name")
    async def train(self, name: str, step: float) -> float:
        await self.weights.put("n", (await self.weights.get("n") or 0.0) + 1.0)
        await self.weights.put("w", (await self.weights.get("w") or 1.0) + step)
        return await self.weights.get("w") or 0.0

    @query
    async def count(self) -> int:
        return int(await self.weights.get("n") or 0.0)

    @query
    async def words(self, upto: int) -> AsyncIterator[str]:
        for number in range(abs(upto)):
            yield f"w{number}"
        if upto < 0:
            raise ZeroDivisionError("no more")


app = App("lab", Models)
