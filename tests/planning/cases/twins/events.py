"""`Scored` once more, of another module."""

from allotrope.kernel.components import component
from allotrope.kernel.messages import Event
from allotrope.kernel.operations import on


class Scored(Event, key="card"):
    card: str


@component
class Echo:
    @on(Scored)
    async def hear(self, scored: Scored) -> None:
        return None
