"""The path of a query: types, deadlines, limits, errors, threads, batches, streams and cancellation."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from time import perf_counter
from typing import Any

import pytest

from allotrope import (
    App,
    Event,
    Expired,
    Failed,
    Fault,
    Lost,
    Message,
    Overloaded,
    Refused,
    component,
    on,
    query,
)
from allotrope.compose import build
from allotrope.kernel.calls import Call, current
from allotrope.runtime.host import Host
from allotrope.runtime.options import Options
from allotrope.runtime.records import Record

STAGE: dict[str, Any] = {}  # what a test hands to the components below: events to wait for, lists to write to


class Question(Message):
    id: str
    weight: float


class Score(Message):
    probability: float


class Unknown(Fault):
    id: str


class Undeclared(Fault):
    id: str


class Asked(Event, key="id"):
    id: str


@component
class Model:
    @query
    async def score(self, question: Question) -> Score:
        return Score(question.weight)

    @query
    async def scaled(self, question: Question, by: float = 1.0) -> float:
        return question.weight * by

    @query(faults=(Unknown,))
    async def lookup(self, id: str) -> str:
        if id == "broken":
            raise ZeroDivisionError("division by zero")
        if id == "exit":
            raise SystemExit(3)
        if id == "undeclared":
            raise STAGE["undeclared"]  # built elsewhere: the plan would have refused it here
        raise Unknown(id=id)

    @query
    async def wrong(self) -> float:
        return float("nan")

    @query
    async def held(self) -> str:
        STAGE["log"].append("in")
        try:
            await STAGE["go"].wait()
        except asyncio.CancelledError:
            STAGE["log"].append("cancelled")
            raise
        finally:
            STAGE["log"].append("out")
        return "done"

    @query(deadline_s=0.01)
    async def hasty(self) -> str:
        await STAGE["go"].wait()
        return "done"

    @query
    def blocking(self, name: str) -> str:
        STAGE["log"].append(name)
        STAGE["entered"].set()
        STAGE["gate"].wait(10)
        return f"{name} in {threading.current_thread().name}"

    @query(batch=3)
    async def doubled(self, numbers: tuple[int, ...]) -> tuple[int, ...]:
        STAGE["log"].append(numbers)
        if len(STAGE["log"]) == 1:
            await STAGE["go"].wait()
        return tuple(2 * number // (number != 13) for number in numbers)

    @query
    async def counted(self, most: int) -> AsyncIterator[int]:
        try:
            for number in range(most):
                yield number
            raise ZeroDivisionError("no more")
        finally:
            STAGE["log"].append("closed")


@component
class Edge:
    model: Model

    @query(deadline_s=0.01)
    async def patient(self) -> str:
        return await self.model.held()

    @query
    async def through(self, question: Question) -> Score:
        return await self.model.score(question)


@component
class Watcher:
    model: Model

    @on(Asked)
    async def asked(self, event: Asked) -> None:
        await self.model.score(Question(event.id, 0.5))
        try:
            await self.model.lookup(event.id)
        except Unknown:
            return


app = App("doors", Model, Edge, Watcher)


class Seen:
    """Keeps the records of a host."""

    def __init__(self) -> None:
        self.records: list[Record] = []

    async def pause(self, title: str) -> None:
        pass

    def twice(self, title: str) -> bool:
        return False

    def saw(self, record: Record) -> None:
        self.records.append(record)


@asynccontextmanager
async def live(folder: Path, more: str = "", options: Options | None = None) -> AsyncIterator[Host]:
    """A host in one process, its topology a monolith's with `more`; the stage is set anew."""
    STAGE.clear()
    STAGE.update(undeclared=Undeclared(id="p1"), go=asyncio.Event(), log=[])
    STAGE.update(entered=threading.Event(), gate=threading.Event())
    file = folder / "doors.toml"
    file.write_text(f'base = "monolith"\n{more}', "utf-8")
    host = build(app, str(file), folder, options)
    await host.start()
    try:
        yield host
    finally:
        STAGE["gate"].set()
        await host.close()


async def until(reached: Callable[[], object]) -> None:
    """Let the loop run until something is so."""
    async with asyncio.timeout(10):
        for _ in count():
            if reached():
                return
            await asyncio.sleep(0)


def meter(host: Host, title: str) -> Any:
    return host.services.meters[title]


ONE = "[component.Model]\nconcurrency = 1\nqueue = 1\n"
ASKED = Question("p1", 0.5)


async def test_arguments_are_taken_by_place_and_by_name(tmp_path: Path) -> None:
    async with live(tmp_path) as host:
        model = host.of(Model)
        assert await model.score(ASKED) == Score(0.5)
        assert await model.scaled(ASKED) == 0.5
        assert await model.scaled(by=4.0, question=ASKED) == 2.0
        assert await model.scaled(ASKED, 2) == 1.0, "an int is made a float, as on a wire"
        assert await host.of(Edge).through(ASKED) == Score(0.5)


async def test_a_wrong_argument_is_refused_and_named(tmp_path: Path) -> None:
    async with live(tmp_path) as host:
        model: Any = host.of(Model)
        with pytest.raises(Refused, match=r"Model\.scaled\(by\): .*'much'"):
            await model.scaled(ASKED, "much")
        with pytest.raises(Refused, match=r"Model\.score\(question\)"):
            await model.score(Score(0.5))
        with pytest.raises(Refused, match=r"Model\.score: .*weights"):
            await model.score(ASKED, weights=1.0)
        with pytest.raises(Refused, match=r"Model\.score: too many"):
            await model.score(ASKED, ASKED)
        assert meter(host, "Model.score").calls == 0
        with pytest.raises(AttributeError, match=r"Model has no operation `guess`.*score, scaled"):
            await model.guess(ASKED)


async def test_a_wrong_argument_is_refused_when_awaited_not_before(tmp_path: Path) -> None:
    """Else one bad call among several would leave the others started and nobody to wait for them."""
    async with live(tmp_path) as host:
        model: Any = host.of(Model)
        good, bad = await asyncio.gather(model.score(ASKED), model.score(1), return_exceptions=True)
        assert good == Score(0.5)
        assert isinstance(bad, Refused)


async def test_a_wrong_answer_has_failed_and_was_not_refused(tmp_path: Path) -> None:
    async with live(tmp_path) as host:
        with pytest.raises(Failed, match=r"Model\.wrong failed: the answer of Model\.wrong: nan"):
            await host.of(Model).wrong()


async def test_declared_faults_pass_and_all_else_has_failed(tmp_path: Path) -> None:
    async with live(tmp_path) as host:
        model = host.of(Model)
        with pytest.raises(Unknown) as fault:
            await model.lookup("p1")
        assert fault.value == Unknown(id="p1")
        with pytest.raises(Failed) as failed:
            await model.lookup("broken")
        assert (failed.value.component, failed.value.operation) == ("Model", "lookup")
        assert failed.value.cause == "ZeroDivisionError: division by zero"
        assert isinstance(failed.value.__cause__, ZeroDivisionError)
        with pytest.raises(Failed, match="Undeclared"):
            await model.lookup("undeclared")
        with pytest.raises(Failed, match="SystemExit: 3"):
            await model.lookup("exit")
        counted = meter(host, "Model.lookup")
        assert counted.errors == {"Unknown": 1, "ZeroDivisionError": 1, "Undeclared": 1, "SystemExit": 1}
        assert (counted.calls, counted.running) == (4, 0)
        assert host.wiring.doors["Model.lookup"][0].slots.free == 64


async def test_a_call_whose_deadline_has_passed_does_not_run(tmp_path: Path) -> None:
    async with live(tmp_path) as host:
        token = current.set(Call("Edge", "through", deadline=perf_counter() - 1))
        try:
            with pytest.raises(Expired, match=r"Model\.held: the deadline passed before"):
                await host.of(Model).held()
        finally:
            current.reset(token)
        assert STAGE["log"] == []
        assert meter(host, "Model.held").calls == 0
        assert meter(host, "Model.held").errors == {"Expired": 1}


async def test_a_call_cut_at_its_deadline_is_lost(tmp_path: Path) -> None:
    async with live(tmp_path, ONE) as host:
        with pytest.raises(Lost, match=r"Model\.hasty: cut at its deadline"):
            await host.of(Model).hasty()
        with pytest.raises(Lost, match=r"Edge\.patient: cut at its deadline"):
            await host.of(Edge).patient()
        assert STAGE["log"] == ["in", "cancelled", "out"], "the callee runs under its caller's deadline"
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        assert await host.of(Model).score(ASKED) == Score(0.5), "the place was given back"


async def test_calls_beyond_the_limit_wait_and_beyond_the_queue_are_refused(tmp_path: Path) -> None:
    async with live(tmp_path, ONE) as host:
        model = host.of(Model)
        first, second = (asyncio.create_task(model.held()) for _ in range(2))
        await until(lambda: host.wiring.doors["Model.held"][0].slots.waiting)
        assert STAGE["log"] == ["in"]
        with pytest.raises(Overloaded) as refused:
            await model.score(ASKED)
        assert refused.value.retry_after_s == 1.0
        STAGE["go"].set()
        assert await asyncio.gather(first, second) == ["done", "done"]
        assert STAGE["log"] == ["in", "out", "in", "out"]


async def test_cancelling_the_caller_cancels_the_body(tmp_path: Path) -> None:
    async with live(tmp_path, ONE) as host:
        call = asyncio.create_task(host.of(Model).held())
        await until(lambda: STAGE["log"])
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert STAGE["log"] == ["in", "cancelled", "out"]
        assert current.get() is None
        assert await host.of(Model).score(ASKED) == Score(0.5)


async def test_a_plain_function_runs_in_the_pool(tmp_path: Path) -> None:
    async with live(tmp_path) as host:
        STAGE["gate"].set()
        assert (await host.of(Model).blocking("a")).startswith("a in operation")


async def test_a_cancelled_thread_keeps_its_place_until_it_ends(tmp_path: Path) -> None:
    async with live(tmp_path, ONE) as host:
        model = host.of(Model)
        first = asyncio.create_task(model.blocking("a"))
        await until(lambda: STAGE["entered"].is_set())
        second = asyncio.create_task(model.blocking("b"))
        slots = host.wiring.doors["Model.blocking"][0].slots
        await until(lambda: slots.waiting)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        assert slots.waiting, "the thread still runs"
        assert STAGE["log"] == ["a"]
        STAGE["gate"].set()
        assert (await second).startswith("b")
        await until(lambda: slots.free == 1)


async def test_a_batch_is_never_waited_for_and_fills_while_the_operation_is_busy(tmp_path: Path) -> None:
    async with live(tmp_path) as host:
        model = host.of(Model)
        calls = [asyncio.create_task(model.doubled(number)) for number in range(6)]
        await until(lambda: STAGE["log"])
        STAGE["go"].set()
        assert await asyncio.gather(*calls) == [0, 2, 4, 6, 8, 10]
        assert STAGE["log"] == [(0,), (1, 2, 3), (4, 5)]


async def test_one_bad_value_of_a_batch_fails_alone(tmp_path: Path) -> None:
    async with live(tmp_path) as host:
        model = host.of(Model)
        calls = [asyncio.create_task(model.doubled(number)) for number in (1, 2, 13, 3)]
        await until(lambda: STAGE["log"])
        STAGE["go"].set()
        found = await asyncio.gather(*calls, return_exceptions=True)
        assert [found[0], found[1], found[3]] == [2, 4, 6]
        assert isinstance(found[2], Failed)
        assert "ZeroDivisionError" in found[2].cause


async def test_a_stream_is_closed_when_its_reader_leaves(tmp_path: Path) -> None:
    async with live(tmp_path, ONE) as host:
        pieces = host.of(Model).counted(5)
        assert [await anext(pieces), await anext(pieces)] == [0, 1]
        assert current.get() is None, "between two pieces the reader's own code runs"
        await pieces.aclose()
        assert STAGE["log"] == ["closed"]
        assert await host.of(Model).score(ASKED) == Score(0.5), "the place was given back"


async def test_a_stream_that_raises_has_failed_after_its_pieces(tmp_path: Path) -> None:
    async with live(tmp_path) as host:
        pieces = host.of(Model).counted(2)
        assert [await anext(pieces), await anext(pieces)] == [0, 1]
        with pytest.raises(Failed, match=r"Model\.counted failed: ZeroDivisionError"):
            await anext(pieces)
        assert STAGE["log"] == ["closed"]


async def test_what_a_handler_asks_is_on_its_tape_and_what_it_was_told(tmp_path: Path) -> None:
    seen = Seen()
    async with live(tmp_path, options=Options(disturbance=seen)) as host:
        await host.publish(Asked("p1"))
    (record,) = seen.records
    assert [what for what, _, _ in record.tape] == ["Model.score", "Model.lookup!"]
