"""Imports inside functions, and reaches through a module."""

from allotrope.kernel.components import component
from allotrope.kernel.operations import query
from tests.planning.cases.walls import ranking


@component
class Trader:
    @query
    async def trade(self, name: str) -> float:
        from tests.planning.cases.walls.ranking import Ranker

        return await Ranker().rank(name)

    @query
    async def swap(self, name: str) -> float:
        return ranking._guess(name) + await ranking.Judge().judge(name)
