"""Imports a component and private names at the top."""

from allotrope.kernel.components import component
from allotrope.kernel.operations import query
from tests.planning.cases.walls.ranking import _SEEN, Judge, Ranker, _guess


@component
class Seller:
    judge: Judge

    @query
    async def sell(self, name: str) -> float:
        return _SEEN.get(name, _guess(name)) + await self.judge.judge(name)


Fallback = Ranker
