"""What may be imported: events, plain functions, the types of its own fields, whole modules."""

from allotrope.kernel.components import component
from allotrope.kernel.operations import on, query
from tests.planning.cases.walls import ranking
from tests.planning.cases.walls.ranking import Ranked, Ranker, rounded


@component
class Buyer:
    ranker: Ranker
    judge: ranking.Judge

    @query
    async def buy(self, name: str) -> float:
        return rounded(await self.ranker.rank(name)) + await self.judge.judge(name)

    @on(Ranked)
    async def note(self, ranked: Ranked) -> None: ...
