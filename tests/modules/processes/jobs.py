"""A process whose way back fails: of the job called stuck, until the environment says UNLOCKED."""

import os
from datetime import timedelta

from allotrope import App, Event, Process, Step, component, on


class Begun(Event, key="job"):
    job: str


class Take(Event, key="job"):
    job: str


class Taken(Event, key="job"):
    job: str


class Give(Event, key="job"):
    job: str


class Given(Event, key="job"):
    job: str


class Use(Event, key="job"):
    job: str


class Used(Event, key="job"):
    job: str


class Broken(Event, key="job"):
    job: str


class Ended(Event, key="job"):
    job: str


class Job(Process[Begun], key="job", timeout=timedelta(hours=1), compensated=Ended):
    take = Step(Take, done=Taken, undo=Give, undone=Given)
    use = Step(Use, done=Used, failed=Broken)


@component
class Hands:
    @on(Take)
    async def take(self, asked: Take) -> Taken:
        return Taken(asked.job)

    @on(Give)
    async def give(self, asked: Give) -> Given:
        if asked.job == "stuck" and "UNLOCKED" not in os.environ:
            raise OSError("the door is locked")
        return Given(asked.job)

    @on(Use)
    async def use(self, asked: Use) -> Used | Broken:
        return Broken(asked.job)


app = App("jobs", Job, Hands)
