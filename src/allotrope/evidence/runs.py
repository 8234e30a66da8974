"""One run of a check: an app, a layout, a seed and inputs, driven to the end; what came out, as values."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from allotrope.evidence.chaos import Chaos, Stir, dying
from allotrope.evidence.contrast import Symptom
from allotrope.evidence.guards import watching
from allotrope.evidence.inputs import Ask, Given, Publish, Tell
from allotrope.evidence.laws import broken
from allotrope.evidence.ticks import Ticks
from allotrope.kernel import codec
from allotrope.kernel.components import App
from allotrope.kernel.errors import Failed, Lost, Refused
from allotrope.kernel.messages import Event, Fault
from allotrope.kernel.views import micros
from allotrope.runtime.host import Host
from allotrope.runtime.options import Input, Options
from allotrope.runtime.records import Record, fingerprint
from allotrope.runtime.telemetry.secrets import HIDDEN, is_secret
from allotrope.storage import points

WINDOW = 24  # inputs under way at once
PATIENCE_S = 60.0  # the least deadline: a check keeps the machine busy, and that must not decide an answer


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What to run. `kill` ends the process once in the middle; the next attempt goes on in its folder."""

    app: str
    preset: str
    seed: int = 0
    stirs: tuple[Stir, ...] = ()
    kill: bool = False
    watched: bool = False
    folder: str = ""
    recalled: dict[str, bytes] = {}


class Step(msgspec.Struct, frozen=True):
    """One delivery: what the operation was given and read, and what it did. `rank` counts inputs from 1."""

    rank: int
    path: str
    title: str
    kind: str  # of the event consumed
    body: bytes
    tape: tuple[tuple[str, bytes, bytes], ...]  # (what was asked, arguments, answer)
    events: tuple[tuple[str, bytes], ...]
    writes: tuple[tuple[str, str, bytes | None], ...]
    answer: bytes
    error: str

    @property
    def did(self) -> tuple[Any, ...]:
        """Return all that must be equal."""
        return self.error, self.events, self.writes, self.answer


class Flaw(msgspec.Struct, frozen=True):
    """What is wrong in one run by itself, and where."""

    where: str
    what: str
    symptom: Symptom


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """What came out of a job."""

    steps: tuple[Step, ...]
    outcomes: tuple[tuple[str, str], ...]  # (title, what the caller got), per input
    tables: dict[str, dict[str, bytes]]
    views: dict[str, dict[str, bytes]]
    flaws: tuple[Flaw, ...]
    recalled: dict[str, bytes]
    settings: dict[str, str] = {}  # that the topology sets, as text
    repeats: int = 0
    doubled: int = 0
    struck: int = 0  # units that were ended in the middle


Build = Callable[[App, str, Path, Options, Callable[[str, Any, Any], None]], Host]


async def run(job: Job, app: App, inputs: Sequence[Given], build: Build) -> Run:
    """Return what `job` gives. A killed one does not return at all."""
    driver = Driver(job, app, build)
    if job.kill:
        points.listen(dying(job.seed, len(inputs)))
    if not job.watched:
        await driver.drive(inputs)
        return await driver.result()
    operations = [operation for component in app.components.values() for operation in component.operations]
    varying = frozenset(operation.title for operation in operations if not operation.repeatable)
    packages = frozenset(component.kind.__module__.partition(".")[0] for component in app.components.values())
    with watching(packages - {"allotrope"}, varying) as impure:
        await driver.drive(inputs)
    found = await driver.result()
    flaws = [Flaw(title, f"it reads {what}", _symptom(what)) for title, what in sorted(impure)]
    flaws += [Flaw(where, what, "law") for where, what in broken(app, driver.events(inputs))]
    return msgspec.structs.replace(found, flaws=(*found.flaws, *flaws))


def _symptom(what: str) -> Symptom:
    return "clock" if "clock" in what else "chance" if "chance" in what else "machine"


class Driver:
    """Feeds inputs to one host, in order, many under way at once."""

    def __init__(self, job: Job, app: App, build: Build) -> None:
        """Build the host, with a clock that follows the inputs."""
        self.job, self.app = job, app
        self.chaos = Chaos(job.seed, job.stirs)
        self.now = 0
        self.differing: list[Flaw] = []
        self.recalled = dict(job.recalled)
        options = Options(
            now=lambda: self.now, replicas=1 + ("instances" in job.stirs), disturbance=self.chaos,
            recalled=self.recalled, ticks=False,
        )  # fmt: skip
        self.host = build(app, job.preset, Path(job.folder), options, self._differs)
        doors = [door for doors in self.host.wiring.doors.values() for door in doors]
        for door in doors:
            if door.deadline_s is not None:
                door.deadline_s = max(door.deadline_s, PATIENCE_S)
        self.chaos.slow(doors)
        self.outcomes: list[tuple[str, str]] = []
        self.doubled = self.struck = 0
        self._accepted = self._before = 0  # inputs taken by this attempt, and by the one that was killed
        self._ticks = Ticks(app)

    def _differs(self, title: str, one: Any, other: Any) -> None:
        what = f"asked twice, it answered {one!r:.60} and then {other!r:.60}"
        self.differing.append(Flaw(title, what, "twice"))

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
            for title, due in self._ticks.due(micros(given.at)):
                under_way.add(asyncio.create_task(self.host.tick(title, due)))
                await asyncio.sleep(0)
                self._accepted += 1
            self._accepted += 1
            self.now = max(self.now, micros(given.at))
            if self.host.site.engine is not None and self.chaos.strikes():
                self.struck += self.host.site.engine.strike(number)
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

    async def _submit(self, number: int, given: Given) -> None:
        title, got = await self._answered(number, given)
        if self.outcomes[number][0] and self.outcomes[number] != (title, got):
            what = f"a repeat of its request got {got:.60}, not {self.outcomes[number][1]:.60}"
            self.differing.append(Flaw(title, what, "twice"))
        self.doubled += bool(self.outcomes[number][0])
        self.outcomes[number] = (title, got)

    async def _answered(self, number: int, given: Given) -> tuple[str, str]:
        request = f"input-{number}"
        try:
            if isinstance(given, Publish):
                await self.host.publish(given.event, Input(request=request, at=given.at))
                return type(given.event).__name__, "accepted"
            if isinstance(given, Tell):
                answer = await self.host.tell(
                    given.title, given.arguments, Input(request=request, at=given.at)
                )
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

    def events(self, inputs: Sequence[Given]) -> list[Event]:
        """Return every event that came in or was published."""
        kinds = self.app.events()
        published = [pair for record in self.chaos.records.values() for pair in record.events]
        came = [given.event for given in inputs if isinstance(given, Publish)]
        # What carries a letter that comes in again is no event of the app.
        return [*came, *(codec.decode(body, kinds[kind]) for kind, body in published if kind in kinds)]

    def _recall(self, record: Record) -> None:
        """Keep what a decision was answered that cannot be repeated, under the names that `Effects.once` gives."""
        asked = Counter[str]()
        for what, arguments, answer in record.tape:
            title = what.removesuffix("!")
            if title in self.host.plan.unrepeatable:
                question = f"{title}({fingerprint(arguments)})"
                asked[question] += 1
                if what == title:
                    self.recalled[f"{record.name}/{record.title}?{question}#{asked[question]}"] = answer

    async def result(self) -> Run:
        """Return what came out, and close the host."""
        host = self.host
        kept = await host.site.contents()
        for record in kept.records:
            self.chaos.saw(record)
            self._recall(record)
        ranks = {
            origin: rank for rank, origin in enumerate(sorted({key[0] for key in self.chaos.records}), 1)
        }
        steps = tuple(
            Step(
                ranks[r.origin],
                r.path,
                r.title,
                r.kind,
                r.body,
                r.tape,
                r.events,
                tuple(sorted(r.writes, key=lambda row: row[:2])),  # they are committed at once: no order
                r.answer,
                r.error,
            )
            for _, r in sorted(self.chaos.records.items())
        )
        await host.close()
        given = host.plan.topology.setting.items()
        settings = {name: HIDDEN if is_secret(name) else f"{value!r:.60}" for name, value in given}
        return Run(
            steps=steps, outcomes=tuple(self.outcomes), tables=kept.tables, views=kept.views,
            flaws=tuple(self.differing),
            recalled=self.recalled, settings=settings, repeats=self.chaos.repeats, doubled=self.doubled,
            struck=self.struck,
        )  # fmt: skip
