"""A component, a private rule and a public one."""

from allotrope.kernel.components import component
from allotrope.kernel.messages import Event
from allotrope.kernel.operations import query

_SEEN: dict[str, float] = {}


class Ranked(Event, key="name"):
    name: str


def rounded(score: float) -> float:
    return round(score, 2)


def _guess(name: str) -> float:
    return float(len(name))


@component
class Ranker:
    @query
    async def rank(self, name: str) -> float:
        return rounded(_guess(name))


@component
class Judge:
    @query
    async def judge(self, name: str) -> float:
        return 1.0
