"""The doors: what the app reacts to, can be asked and can be told. Each is a few lines around a rule."""

from allotrope import Table, command, component, on, query

from PROJECT import learning, rules
from PROJECT.data import Case, Usage
from PROJECT.events import Alarmed, Closed, NotOpen, Reading


@component
class Model:
    """Says how surprising a reading is."""

    @query
    async def surprise(self, usual: float, seen: float) -> float:
        """Return a figure from 0 to 1."""
        return learning.surprise(usual, seen)


@component
class Watch:
    """Raises an alarm for a surprising reading."""

    threshold: float = 0.99  # a plain field is a setting: topology.toml may change it
    usage: Usage
    model: Model

    @on(Reading)
    async def judge(self, reading: Reading) -> Alarmed | None:
        """Publish an alarm, or nothing."""
        usual = rules.usual_kwh(await self.usage.of(reading.meter, reading.at))
        if usual is None:
            return None
        surprise = await self.model.surprise(usual, reading.kwh)
        if surprise < self.threshold:
            return None
        return Alarmed(reading.id, reading.meter, reading.kwh, usual, surprise)


@component
class Desk:
    """Holds the cases that wait for a person."""

    cases: Table[Case]

    @on(Alarmed)
    async def take(self, alarm: Alarmed) -> None:
        """Put a case on the desk."""
        await self.cases.put(alarm.id, Case(alarm.id, alarm.meter, alarm.kwh, alarm.usual, alarm.surprise))

    @query
    async def waiting(self, most: int = 20) -> tuple[Case, ...]:
        """Return the cases that wait, the most urgent first."""
        return rules.most_urgent([case async for _, case in self.cases.items()], most)

    @command(key="id", faults=(NotOpen,))
    async def close(self, id: str, reason: str) -> Closed:
        """Close a case; whoever comes second gets NotOpen."""
        if await self.cases.get(id) is None:
            raise NotOpen(id=id)
        await self.cases.delete(id)
        return Closed(id, reason)
