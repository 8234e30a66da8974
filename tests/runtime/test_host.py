"""What a host promises while it is disturbed from inside: stopped, drained, overloaded, ticking."""

import asyncio
import gc
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from allotrope import (
    App,
    Count,
    Event,
    Expired,
    Failed,
    Fault,
    Lost,
    PlanRefused,
    Refused,
    Table,
    Tick,
    View,
    command,
    component,
    every,
    on,
    query,
)  # fmt: skip
from allotrope.compose import build
from allotrope.planning.documents import document_of
from allotrope.runtime.host import Host
from allotrope.runtime.options import Input, Options

GATE: dict[str, asyncio.Event] = {}
CALLS: list[str] = []


class Job(Event, key="id"):
    id: str


class Bad(Fault):
    id: str


class Worse(Bad):
    pass


class Jobs(View[Job]):
    count = Count()


@component
class Model:
    @query
    async def score(self, word: str) -> str:
        await GATE["model"].wait()
        return word

    @query(repeatable=False)
    async def guess(self, word: str) -> str:
        CALLS.append(word)
        await asyncio.sleep(0)
        return f"answer {len(CALLS)} to {word}"


@component
class Worker:
    model: Model
    done: Table[str]

    @on(Job)
    async def work(self, job: Job) -> None:
        await self.done.put(job.id, await self.model.score(job.id))

    @command(key="id")
    async def ask(self, id: str) -> str:
        return await self.model.score(id)

    @command(key="id")
    async def both(self, id: str) -> tuple[str, str]:
        one, other = await asyncio.gather(self.model.guess("a"), self.model.guess("b"))
        if len(CALLS) == 2:
            CALLS.append("the first attempt fails")
            raise LookupError("once")
        return one, other

    @command(key="id", faults=(Bad,))
    async def refuse(self, id: str) -> None:
        raise Bad(id=id)

    @command(key="id", faults=(Bad,))
    async def refuse_more(self, id: str) -> None:
        error: Any = Worse
        raise error(id=id)

    @query
    async def rows(self) -> tuple[str, ...]:
        return tuple([key async for key, _ in self.done.items()])


@component
class Ticker:
    @every(timedelta(milliseconds=5))
    async def tick(self, tick: Tick) -> None:
        GATE["ticked"].set()


APP = App("work", Jobs, Model, Worker)
SMALL = """
base = "modular-monolith"
[component.Model]
concurrency = 1
queue = 1
"""


async def opened(
    folder: Path, app: App = APP, topology: str = "modular-monolith", *, ticks: bool = False
) -> Host:
    """Return a live host; the model waits until its gate is set."""
    GATE.update(model=asyncio.Event(), ticked=asyncio.Event())
    CALLS.clear()
    host = build(app, topology, folder, Options(ticks=ticks))
    await host.start()
    return host


async def test_what_was_accepted_before_a_stop_takes_effect_after_it(tmp_path: Path) -> None:
    host = await opened(tmp_path)
    await host.publish(Job("slow"))
    host.stop(Refused("a store failed"))
    GATE["model"].set()
    assert not await host.drain()
    host = await opened(tmp_path)
    GATE["model"].set()
    await host.settled()
    assert await host.of(Worker).rows() == ("slow",)
    assert await host.drain()


async def test_a_tick_does_not_end_a_drain(tmp_path: Path) -> None:
    host = await opened(tmp_path, App("ticking", Jobs, Model, Worker, Ticker), ticks=True)
    await host.publish(Job("a"))
    await GATE["ticked"].wait()
    draining = asyncio.create_task(host.drain())
    for _ in range(3):
        GATE["ticked"].clear()
        await asyncio.sleep(0)
    GATE["model"].set()
    assert await draining


async def test_who_waits_when_the_host_closes_is_told(tmp_path: Path) -> None:
    host = await opened(tmp_path)
    asked = asyncio.create_task(host.tell("Worker.ask", ("a",)))
    await host.publish(Job("b"))  # it comes after the command
    assert not await host.drain(grace_s=0.01)
    with pytest.raises(Lost, match="stopped"):
        await asked


async def test_load_does_not_decide_an_answer(tmp_path: Path) -> None:
    file = tmp_path / "small.toml"
    file.write_text(SMALL, "utf-8")
    host = await opened(tmp_path / "data", APP, str(file))
    asked = [asyncio.create_task(host.tell("Worker.ask", (f"c{n}",))) for n in range(6)]
    for number in range(6):
        await host.publish(Job(f"j{number}"))
    GATE["model"].set()
    assert await asyncio.gather(*asked) == [f"c{n}" for n in range(6)]
    await host.settled()
    assert await host.of(Worker).rows() == tuple(f"j{n}" for n in range(6))
    assert host.site.parked == 0
    await host.close()


async def test_recorded_answers_belong_to_their_questions(tmp_path: Path) -> None:
    host = await opened(tmp_path)
    with pytest.raises(Failed, match="once"):
        await host.tell("Worker.both", ("x",), Input(request="r"))
    one, other = await host.tell("Worker.both", ("y",))
    assert (one[-4:], other[-4:]) == ("to a", "to b")
    await host.close()


@pytest.mark.parametrize("preset", ["monolith", "modular-monolith"])
async def test_faults_leave_nothing_behind(tmp_path: Path, preset: str) -> None:
    host = await opened(tmp_path, APP, preset)
    for number in range(200):
        with pytest.raises(Bad):
            await host.tell("Worker.refuse", (str(number),))
    await host.settled()
    host.site.effects.recent.clear()
    gc.collect()
    assert sum(isinstance(thing, Bad) for thing in gc.get_objects()) < 20
    await host.close()


async def test_a_fault_of_a_subclass_was_not_declared(tmp_path: Path) -> None:
    host = await opened(tmp_path)
    with pytest.raises(Failed, match="Worse"):
        await host.tell("Worker.refuse_more", ("a",))
    await host.close()


async def test_a_component_that_cannot_be_built_leaves_the_folder_free(tmp_path: Path) -> None:
    @component
    class Broken:
        done: Table[str]

        def __init__(self, done: Table[str]) -> None:
            raise OSError("no device")

        @on(Job)
        async def work(self, job: Job) -> None:
            await self.done.put(job.id, job.id)

    with pytest.raises(OSError, match="no device"):
        build(App("work", Broken), "modular-monolith", tmp_path)
    host = await opened(tmp_path)
    await host.close()


def test_an_answer_that_cannot_be_recorded_is_refused_by_the_plan() -> None:
    @component
    class Middle:
        model: Model

        @query
        async def ask(self, word: str) -> str:
            return await self.model.guess(word)

        @query(batch=4)
        async def many(self, words: tuple[str, ...]) -> tuple[str, ...]:
            return words

    with pytest.raises(PlanRefused, match=r"Middle.ask asks Model.guess, which cannot repeat its answer"):
        build(App("nested", Model, Middle), "monolith")


def test_a_batch_reads_nothing_as_of_an_input() -> None:
    @component
    class Scorer:
        jobs: Jobs

        @query(batch=4)
        async def many(self, words: tuple[str, ...]) -> tuple[int, ...]:
            return tuple([(await self.jobs.of(word)).count for word in words])

    with pytest.raises(PlanRefused, match=r"Scorer.many is batched and reads `Jobs`"):
        build(
            App("batched", Jobs, Scorer),
            document_of('base = "monolith"', "x.toml", lambda _: "[unit.all]\ncomponents = ['*']"),
        )


class Burst(Event, key="id"):
    id: str
    size: int


class Part(Event, key="id"):
    id: str
    number: int


@component
class Splitter:
    heard: Table[tuple[int, ...]]

    @on(Burst)
    async def split(self, burst: Burst) -> tuple[Part, ...]:
        return tuple(Part(burst.id, number) for number in range(burst.size))

    @on(Part)
    async def hear(self, part: Part) -> None:
        await self.heard.put(part.id, (*(await self.heard.get(part.id) or ()), part.number))

    @query
    async def numbers(self, id: str) -> tuple[int, ...] | None:
        return await self.heard.get(id)


@component
class Clumsy:
    @on(Job)
    async def work(self, job: Job) -> None:
        inner = asyncio.get_running_loop().create_future()
        inner.cancel()
        await inner

    @query
    def first(self, words: tuple[str, ...]) -> str:
        return next(word for word in words if word == "never")


PRESETS = pytest.mark.parametrize("preset", ["monolith", "modular-monolith"])


@PRESETS
async def test_more_than_a_thousand_events_of_one_handler_keep_their_order(
    tmp_path: Path, preset: str
) -> None:
    host = await opened(tmp_path, App("work", Splitter), preset)
    await host.publish(Burst("a", 1_203))
    await host.settled()
    assert await host.of(Splitter).numbers("a") == tuple(range(1_203))
    await host.close()


@PRESETS
async def test_a_cancelled_future_inside_a_handler_is_its_failure(tmp_path: Path, preset: str) -> None:
    host = await opened(tmp_path, App("clumsy", Clumsy), preset)
    await host.publish(Job("a"))
    await host.publish(Job("a"))
    await host.settled()
    assert host.site.parked == 2
    with pytest.raises(Failed, match="StopIteration"):
        await host.of(Clumsy).first(("a",))
    await host.close()


@PRESETS
async def test_request_ids_are_checked_and_belong_to_one_tenant(tmp_path: Path, preset: str) -> None:
    host = await opened(tmp_path, APP, preset)
    GATE["model"].set()
    with pytest.raises(Refused, match="no text"):
        await host.publish(Job("a"), Input(request="\ud800"))
    await host.publish(Job("a"), Input(request="r"))
    with pytest.raises(Refused, match="used before with other values"):
        await host.publish(Job("b"), Input(request="r"))
    one = await host.tell("Worker.ask", ("x",), Input(tenant="t", request="Worker.ask/r"))
    other = await host.tell("Worker.ask", ("y",), Input(tenant="t/Worker.ask", request="r"))
    assert (one, other) == ("x", "y")
    assert await host.tell("Worker.ask", ("x",), Input(tenant="t", request="Worker.ask/r")) == "x"
    await host.close()


@PRESETS
async def test_the_window_bounds_what_is_in_flight(tmp_path: Path, preset: str) -> None:
    file = tmp_path / "narrow.toml"
    file.write_text(f'base = "{preset}"\nwindow = 8\n', "utf-8")
    host = await opened(tmp_path / "data", APP, str(file))
    published = [asyncio.create_task(host.publish(Job(str(number)))) for number in range(100)]
    await asyncio.sleep(0)
    GATE["model"].set()
    largest = 0
    while not all(task.done() for task in published):
        largest = max(largest, len(host.flights.flows))
        await asyncio.wait(published, timeout=0.001)
    assert sorted(task.result() for task in published) == list(range(1, 101))
    await host.settled()
    assert largest <= 8
    await host.close()


async def test_a_host_that_was_not_started_takes_nothing(tmp_path: Path) -> None:
    host = build(APP, "modular-monolith", tmp_path)
    with pytest.raises(Refused, match="not started"):
        await host.publish(Job("a"))
    await host.close()


async def test_an_accepted_input_of_another_version_is_not_passed_over(tmp_path: Path) -> None:
    host = await opened(tmp_path)
    await host.publish(Job("a"))
    await host.close()
    with pytest.raises(
        Refused, match=r"an unfinished Job, waits for Worker\.work, which this app does not have"
    ):
        await opened(tmp_path, App("work", Splitter))


@PRESETS
@pytest.mark.parametrize("deadline_s", [0.0, -1.0, float("nan")])
async def test_a_deadline_that_has_passed_runs_nothing(
    tmp_path: Path, preset: str, deadline_s: float
) -> None:
    host = await opened(tmp_path, APP, preset)
    GATE["model"].set()
    for request in ("", "r"):
        late = Input(request=request, deadline_s=deadline_s)
        with pytest.raises(Expired, match=r"Job: the deadline, .* nothing ran"):
            await host.publish(Job("a"), late)
        with pytest.raises(Expired, match=r"Worker\.ask: the deadline, .* nothing ran"):
            await host.tell("Worker.ask", ("x",), late)
    assert host.flights.newest == 0
    assert await host.tell("Worker.ask", ("y",), Input(request="r")) == "y"
    await host.close()


class Ping(Event, key="id"):
    id: str
    left: int


class Pong(Event, key="id"):
    id: str
    left: int


@component
class Players:
    heard: Table[int]

    @on(Ping)
    async def ping(self, ping: Ping) -> Pong | None:
        await self.heard.put(ping.id, (await self.heard.get(ping.id) or 0) + 1)
        return Pong(ping.id, ping.left - 1) if ping.left else None

    @on(Pong)
    async def pong(self, pong: Pong) -> Ping | None:
        await self.heard.put(pong.id, (await self.heard.get(pong.id) or 0) + 1)
        return Ping(pong.id, pong.left - 1) if pong.left else None

    @query
    async def count(self, id: str) -> int:
        return await self.heard.get(id) or 0


@PRESETS
async def test_events_that_go_round_for_ever_are_ended(
    tmp_path: Path, preset: str, caplog: pytest.LogCaptureFixture
) -> None:
    host = await opened(tmp_path, App("match", Players), preset)
    await host.publish(Ping("long", 256))
    await host.publish(Ping("endless", 1_000_000))
    await host.settled()
    assert await host.of(Players).count("long") == 257
    assert await host.of(Players).count("endless") == 256  # of the last one nothing is kept
    assert host.site.parked == 1
    said = "Players.ping failed: its input has led through 256 steps round the cycle Players.ping -> Players.pong"
    assert said in caplog.text
    await host.close()
