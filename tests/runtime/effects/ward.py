"""A small app whose handler takes an event only once somebody has fixed what it needs."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from random import Random

from allotrope import App, Event, Fault, Table, command, component, on, query
from allotrope.evidence.inputs import Given, Publish, Tell
from allotrope.runtime.doors.redrive import DELIVER, DISCARD, redrive_of


class Job(Event, key="name"):
    name: str
    number: int
    needs: int = 0
    declared: bool = False


class Done(Event, key="name"):
    name: str
    number: int


class Unfit(Fault):
    number: int


@component
class Works:
    fixed: Table[int]
    seen: Table[tuple[int, ...]]

    @on(Job, faults=(Unfit,))
    async def work(self, job: Job) -> Done:
        if job.needs > (await self.fixed.get(job.name) or 0):
            if job.declared:
                raise Unfit(number=job.number)
            raise ValueError(f"{job.number} needs {job.needs}")
        await self.seen.put(job.name, (*(await self.seen.get(job.name) or ()), job.number))
        return Done(job.name, job.number)

    @command(key="name")
    async def fix(self, name: str, level: int) -> None:
        await self.fixed.put(name, level)

    @query
    async def numbers(self, name: str) -> tuple[int, ...]:
        return await self.seen.get(name) or ()


@component
class Follows:
    seen: Table[tuple[int, ...]]

    @on(Done)
    async def follow(self, done: Done) -> None:
        await self.seen.put(done.name, (*(await self.seen.get(done.name) or ()), done.number))

    @query
    async def numbers(self, name: str) -> tuple[int, ...]:
        return await self.seen.get(name) or ()


def sample(seed: int) -> Iterator[Given]:
    """Events of which some fail, what mends them, and redrives that come too early or in time."""
    random, at = Random(seed), datetime(2026, 1, 1, tzinfo=UTC)
    fixed = dict.fromkeys(("ann", "bob", "cid"), 0)
    for number in range(80):
        at += timedelta(seconds=1)
        name = random.choice(list(fixed))
        draw = random.random()
        if draw < 0.75:
            needs = fixed[name] + (random.random() < 0.2)
            yield Publish(Job(name, number, needs, random.random() < 0.5), at)
        elif draw < 0.85:
            fixed[name] += 1
            yield Tell("Works.fix", (name, fixed[name]), at)
        else:
            what = DISCARD if draw > 0.97 else DELIVER
            yield Tell(redrive_of("Works").title, (name, what, -1, ()), at)


app = App("ward", Works, Follows, sample=sample)
