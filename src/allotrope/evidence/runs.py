"""One run of a check: an app, a layout, a seed and the inputs, driven to the end; what came out, as plain values."""

import asyncio
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec

from allotrope.evidence.chaos import Chaos, dying
from allotrope.evidence.guards import watching
from allotrope.evidence.inputs import Ask, Given, Publish, Tell
from allotrope.evidence.laws import broken
from allotrope.kernel import codec
from allotrope.kernel.components import App
from allotrope.kernel.errors import Failed, Lost, Refused
from allotrope.kernel.messages import Fault
from allotrope.kernel.views import micros
from allotrope.runtime.host import Host, Input, Options
from allotrope.runtime.records import Record
from allotrope.storage import points

WINDOW = 24  # inputs under way at once


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What to run. `kill` ends the process once in the middle; the next attempt finds the folder and goes on."""

    app: str
    preset: str
    seed: int
    temper: str = "calm"
    replicas: int = 1
    kill: bool = False
    watched: bool = False
    folder: str = ""
    recalled: dict[str, bytes] = {}


class Step(msgspec.Struct, frozen=True):
    """One delivery: what the operation published, wrote and answered. `rank` counts inputs from 1."""

    rank: int
    path: str
    title: str
    events: tuple[tuple[str, bytes], ...]
    writes: tuple[tuple[str, str, bytes | None], ...]
    answer: bytes
    error: str


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """What came out of a job."""

    steps: tuple[Step, ...]
    outcomes: tuple[tuple[str, str], ...]  # (title, what the caller got), per input
    tables: dict[str, dict[str, bytes]]
    views: dict[str, dict[str, bytes]]
    findings: tuple[tuple[str, str], ...]  # (where, what is wrong in itself), without comparison
    recalled: dict[str, bytes]
    repeats: int = 0
    doubled: int = 0


Build = Callable[[App, str, Path, Options, Callable[[str, Any, Any], None]], Host]


async def run(job: Job, app: App, inputs: Sequence[Given], build: Build) -> Run:
    """Return what `job` gives. A killed one does not return at all."""
    driver = Driver(job, app, build)
    if job.kill:
        points.listen(dying(job.seed))
    packages = {component.kind.__module__ for component in app.components.values()}
    roots = tuple(name.rpartition(".")[0] + "." for name in packages if "." in name)
    packages |= {name for name in sys.modules if name.startswith(roots)}
    if job.watched:
        with watching(packages) as impure:
            await driver.drive(inputs)
    else:
        impure = set()
        await driver.drive(inputs)
    found = await driver.result()
    return msgspec.structs.replace(found, findings=(*found.findings, *((title, f"it reads {what}") for title, what in sorted(impure))))


class Driver:
    """Feeds inputs to one host, in order, many under way at once."""

    def __init__(self, job: Job, app: App, build: Build) -> None:
        """Build the host, with a clock that follows the inputs."""
        self.job, self.app = job, app
        self.chaos = Chaos(job.seed, job.temper)
        self.now = 0
        self.differing: list[tuple[str, str]] = []
        self.recalled = dict(job.recalled)
        options = Options(
            now=lambda: self.now, replicas=job.replicas, disturbance=self.chaos, recalled=self.recalled, ticks=False
        )
        self.host = build(app, job.preset, Path(job.folder), options, self._differs)
        self.outcomes: list[tuple[str, str]] = []
        self.doubled = 0
        self._accepted = self._before = 0  # inputs taken by this attempt, and by the one that was killed
        self._ticked = 0

    def _differs(self, title: str, one: Any, other: Any) -> None:
        self.differing.append((title, f"asked twice, it answered {one!r:.60} and then {other!r:.60}"))

    async def drive(self, inputs: Sequence[Given]) -> None:
        """Give all inputs; leave when every effect is committed."""
        await self.host.start()
        self._before = self.host.flights.newest
        under_way: set[asyncio.Task[None]] = set()
        for number, given in enumerate(inputs):
            self.outcomes.append(("", ""))
            if isinstance(given, Ask):
                await self._quiet(under_way)
                if self._accepted >= self._before:  # else it would see what an earlier attempt did later on
                    await self._submit(number, given)
                continue
            for title, due in self._due(micros(given.at)):
                under_way.add(asyncio.create_task(self.host.tick(title, due)))
                await asyncio.sleep(0)
                self._accepted += 1
            self._accepted += 1
            self.now = max(self.now, micros(given.at))
            for _ in range(2 if self.chaos.doubled() else 1):
                under_way.add(asyncio.create_task(self._submit(number, given)))
                await asyncio.sleep(0)  # its first step takes its place in the order of inputs
            if len(under_way) >= WINDOW:
                _, under_way = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
        await self._quiet(under_way)

    async def _quiet(self, under_way: set[asyncio.Task[None]]) -> None:
        if under_way:
            await asyncio.gather(*under_way)
            under_way.clear()
        await self.host.settled()

    def _due(self, at: int) -> Iterator[tuple[str, int]]:
        """Yield the ticks between the input before and this one, in the order of time."""
        periods = [(o.title, o.period // timedelta(microseconds=1)) for o in self._timed()]
        before, self._ticked = self._ticked or at, max(at, self._ticked)
        due = [(n * p, title) for title, p in periods for n in range(before // p + 1, at // p + 1)]
        yield from ((title, moment) for moment, title in sorted(due))

    def _timed(self) -> list[Any]:
        return [o for c in self.app.components.values() for o in c.operations if o.period is not None]

    async def _submit(self, number: int, given: Given) -> None:
        title, got = await self._answered(number, given)
        if self.outcomes[number][0] and self.outcomes[number] != (title, got):
            self.differing.append((title, f"a repeat of its request got {got:.60}, not {self.outcomes[number][1]:.60}"))
        self.doubled += bool(self.outcomes[number][0])
        self.outcomes[number] = (title, got)

    async def _answered(self, number: int, given: Given) -> tuple[str, str]:
        request = f"input-{number}"
        try:
            if isinstance(given, Publish):
                await self.host.publish(given.event, Input(request=request, at=given.at))
                return type(given.event).__name__, "accepted"
            if isinstance(given, Tell):
                answer = await self.host.tell(given.title, given.arguments, Input(request=request, at=given.at))
            else:
                answer = await self._asked(given)
            return given.title, repr(answer)
        except (Fault, Refused, Failed, Lost) as error:
            title = type(given.event).__name__ if isinstance(given, Publish) else given.title
            return title, f"{type(error).__name__}: {error}"

    async def _asked(self, given: Ask) -> Any:
        component, _, name = given.title.partition(".")
        face = getattr(self.host.of(self.app.components[component].kind), name)
        if self.app.operation(given.title).streams:
            return [piece async for piece in face(*given.arguments)]
        return await face(*given.arguments)

    async def result(self) -> Run:
        """Return what came out, and close the host."""
        host, ledger = self.host, self.host.ledger
        records = [codec.decode(data, Record) for *_, data in ledger.records()] if host.durable else []
        for record in records:
            self.chaos.saw(record)
        ranks = {origin: rank for rank, origin in enumerate(sorted({key[0] for key in self.chaos.records}), 1)}
        steps = tuple(
            Step(ranks[r.origin], r.path, r.title, r.events, r.writes, r.answer, r.error)
            for _, r in sorted(self.chaos.records.items())
        )
        tables = {
            f"{c.name}.{field.name}": {
                key: row if isinstance(row, bytes) and host.durable else codec.encode(row)
                for key, row in ledger.scan(f"{c.name}.{field.name}")
            }
            for c in self.app.components.values()
            for field in c.needs("table")
        }
        views = {
            name: {key: codec.encode(figures) for key, figures in view.entries().items()}
            for name, view in host.wiring.views.items()
        }
        findings = (*self.differing, *broken(self.app, self.chaos.records.values()))
        await host.close()
        return Run(
            steps=steps, outcomes=tuple(self.outcomes), tables=tables, views=views, findings=findings,
            recalled=self.recalled, repeats=self.chaos.repeats, doubled=self.doubled,
        )  # fmt: skip
