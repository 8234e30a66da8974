"""An app in which a file holds up whom it names: until it is gone, they wait."""

import os
import time
from pathlib import Path

from allotrope import App, Count, Event, Table, View, component, on, query


class Job(Event, key="name"):
    name: str
    number: int


class Done(Event, key="name"):
    name: str
    number: int


class Counted(View[Done], key="name"):
    done = Count()


@component
class Works:
    @on(Job)
    def work(self, job: Job) -> Done:
        while Path(os.environ["HELD"], job.name).exists():
            time.sleep(0.005)
        if job.number < 0:
            raise ValueError("under zero")
        return Done(job.name, job.number)


@component
class Reads:
    counted: Counted
    seen: Table[int]

    @on(Job)
    async def read(self, job: Job) -> None:
        await self.seen.put(job.name, (await self.counted.of(job.name)).done)

    @query
    async def before(self, name: str) -> int:
        return await self.seen.get(name) or 0


app = App("held", Counted, Works, Reads)
