"""Inputs that wait in the log, and flows that lie aside: nobody else is held up, nothing is lost, order holds."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

from allotrope import App, Count, Event, Sum, Table, View, command, component, on
from allotrope.compose import build
from allotrope.kernel.errors import Lost, Overloaded
from allotrope.runtime.host import Host
from allotrope.runtime.options import Input, Options

STAGE: dict[str, Any] = {}
TOPOLOGY = 'base = "modular-monolith"\nreply = "accepted"\nwindow = {window}\n[log]\nbacklog = {backlog}\n'


class Heavy(Event, key="key"):
    key: str
    number: int
    load: str = ""


class Light(Event, key="key"):
    key: str
    number: int


class Lifted(Event, key="key"):
    key: str
    number: int
    load: str = ""


class Asked(Event, key="key"):
    key: str
    number: int


class Seen(View[Lifted], key="key"):
    count = Count()
    total = Sum("number")


@component
class Porter:
    """Takes what is heavy, and hands it on at once."""

    @on(Heavy)
    async def take(self, heavy: Heavy) -> Lifted:
        return Lifted(heavy.key, heavy.number, heavy.load)


@component
class Crane:
    """Is slow: it waits until the test lets it go on."""

    lifted: Table[tuple[int, ...]]

    @on(Lifted)
    async def lift(self, event: Lifted) -> None:
        STAGE["begun"].append(event.number)
        await STAGE["crane"].wait()
        await self.lifted.put(event.key, (*(await self.lifted.get(event.key) or ()), event.number))


@component
class Clerk:
    """Is quick."""

    noted: Table[tuple[int, ...]]

    @on(Light)
    async def note(self, light: Light) -> None:
        await self.noted.put(light.key, (*(await self.noted.get(light.key) or ()), light.number))
        STAGE["noted"] += 1

    @command(key="key")
    async def sign(self, key: str) -> int:
        return len(await self.noted.get(key) or ())


@component
class Reader:
    """Reads what heavy events have come to, as of its own."""

    seen: Seen
    read: Table[tuple[tuple[int, int], ...]]

    @on(Asked)
    async def look(self, asked: Asked) -> None:
        found = (asked.number, (await self.seen.of(asked.key)).count)
        await self.read.put(asked.key, (*(await self.read.get(asked.key) or ()), found))


@component
class Scale:
    """Takes what the crane takes."""

    @on(Lifted)
    async def weigh(self, lifted: Lifted) -> None:
        STAGE["weighed"] += 1


app = App("yard", Porter, Crane, Clerk, Reader, Scale, Seen)


def opened(folder: Path, window: int = 4, backlog: int = 1000) -> Host:
    folder.mkdir(exist_ok=True)
    file = folder / "yard.toml"
    file.write_text(TOPOLOGY.format(window=window, backlog=backlog))
    return build(app, str(file), folder / "kept", Options(ticks=False))


@asynccontextmanager
async def live(
    folder: Path, window: int = 4, backlog: int = 1000, *, free: bool = False
) -> AsyncIterator[Host]:
    STAGE.update(crane=asyncio.Event(), noted=0, weighed=0, begun=[])
    if free:
        STAGE["crane"].set()
    host = opened(folder, window, backlog)
    await host.start()
    try:
        yield host
    finally:
        await host.close()


async def until(reached: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        for _ in count():
            if reached():
                return
            await asyncio.sleep(0.001)


async def rows(host: Host, table: str) -> dict[str, Any]:
    return {
        key: msgspec.msgpack.decode(row) for key, row in (await host.site.contents()).tables[table].items()
    }


def held(host: Host) -> list[str]:
    """The deliveries whose events are in memory."""
    assert host.turns is not None
    return [turn.delivery.envelope.name for turn in host.turns.turns.values() if turn.delivery.envelope.body]


async def test_a_slow_consumer_holds_up_nobody_else(tmp_path: Path) -> None:
    async with live(tmp_path) as host:
        for number in range(200):
            await host.publish(Heavy(f"k{number % 7}", number, "x" * 1000))
        for number in range(100):
            await host.publish(Light(f"k{number % 7}", number))
        await until(lambda: STAGE["noted"] == 100)
        assert await host.of(Clerk).sign("k0") == 15
        assert len(STAGE["begun"]) == 4  # as many as the window, one for each of four keys
        assert host.waiting == 196
        in_memory = held(host)
        assert len(in_memory) <= 8  # those at work, and a window of those that lie aside
        STAGE["crane"].set()
        await host.settled()
        lifted = await rows(host, "Crane.lifted")
        assert {key: list(numbers) for key, numbers in lifted.items()} == {
            f"k{key}": list(range(key, 200, 7)) for key in range(7)
        }
        assert host.waiting == 0


async def test_a_reader_waits_for_what_lies_aside(tmp_path: Path) -> None:
    async with live(tmp_path) as host:
        for number in range(30):
            await host.publish(Heavy(f"k{number % 3}", number))
        for key in range(3):
            await host.publish(Asked(f"k{key}", key))
        for number in range(30, 60):
            await host.publish(Heavy(f"k{number % 3}", number))
        STAGE["crane"].set()
        await host.settled()
        found = await rows(host, "Reader.read")
        assert {key: [list(one) for one in seen] for key, seen in found.items()} == {
            f"k{key}": [[key, 10]] for key in range(3)
        }


async def test_what_is_too_much_is_refused_and_all_else_is_done(tmp_path: Path) -> None:
    async with live(tmp_path, window=4, backlog=50) as host:
        accepted, refused = [], []
        for number in range(600):  # ten times what there is room for
            try:
                await host.publish(Heavy(f"k{number % 5}", number))
                accepted.append(number)
            except Overloaded as error:
                refused.append(error)
        assert len(accepted) == 54
        assert all(error.retry_after_s and error.retry_after_s >= 1 for error in refused)
        assert "`backlog`" in str(refused[0])
        STAGE["crane"].set()
        await host.settled()
        done = sorted(number for numbers in (await rows(host, "Crane.lifted")).values() for number in numbers)
        assert done == accepted
        await host.publish(Heavy("k0", 1))  # there is room again


async def test_a_command_waits_for_its_outcome_behind_the_backlog(tmp_path: Path) -> None:
    async with live(tmp_path, window=1, free=True) as host:
        noted = [asyncio.create_task(host.publish(Light("a", number))) for number in range(50)]
        signed = asyncio.create_task(host.tell("Clerk.sign", ("a",), Input(request="once")))
        assert await signed == 50
        assert await host.tell("Clerk.sign", ("a",), Input(request="once")) == 50
        await asyncio.gather(*noted)


async def test_a_start_loads_a_window_and_no_more(tmp_path: Path) -> None:
    async with live(tmp_path) as host:
        for number in range(120):
            await host.publish(Heavy(f"k{number % 7}", number))
        await until(lambda: len(STAGE["begun"]) == 4 and host.waiting == 116)
        late = asyncio.create_task(host.settled(120))
    with pytest.raises(Lost):
        await late
    async with live(tmp_path) as host:
        await host.publish(Heavy("k0", 1000))
        await until(lambda: len(STAGE["begun"]) == 4)
        in_memory = held(host)
        assert len(in_memory) <= 8
        STAGE["crane"].set()
        await host.settled()
        lifted = {key: list(numbers) for key, numbers in (await rows(host, "Crane.lifted")).items()}
        expected = {f"k{key}": list(range(key, 120, 7)) for key in range(7)}
        expected["k0"].append(1000)
        assert lifted == expected


@pytest.mark.parametrize("seed", range(6))
async def test_answers_are_those_of_a_window_that_holds_all(tmp_path: Path, seed: int) -> None:
    random = Random(seed)
    kinds = (Heavy, Light, Asked)
    inputs = [random.choice(kinds)(random.choice("abc"), number) for number in range(150)]

    async def result(name: str, window: int, stops: int) -> Any:
        left = list(inputs)
        for _ in range(stops):
            async with live(tmp_path / name, window, free=seed % 2 == 0) as host:
                for _ in range(len(inputs) // (stops + 1)):
                    await host.publish(left.pop(0))
                    if random.random() < 0.2:
                        await asyncio.sleep(0)
        async with live(tmp_path / name, window) as host:
            for given in left:
                await host.publish(given)
            STAGE["crane"].set()
            await host.settled()
            kept = await host.site.contents()
            return kept.tables, kept.views

    assert await result("small", 1 + seed, 2) == await result("large", 1000, 0)


async def test_age_and_number_of_what_waits_are_told(tmp_path: Path) -> None:
    async with live(tmp_path) as host:
        assert host.backlog.age_s(time.time_ns() // 1000) == 0.0
        for number in range(40):
            await host.publish(Heavy("a", number))
        await until(lambda: host.waiting == 39)
        assert host.backlog.age_s(time.time_ns() // 1000 + 5_000_000) >= 5.0
        STAGE["crane"].set()
        await host.settled()
        assert (host.waiting, host.backlog.age_s(time.time_ns() // 1000)) == (0, 0.0)


async def test_two_who_take_the_same_event_do_not_wait_for_each_other(tmp_path: Path) -> None:
    async with live(tmp_path) as host:
        for number in range(50):
            await host.publish(Heavy(f"k{number}", number))
        await until(lambda: STAGE["weighed"] == 50)
        assert len(STAGE["begun"]) == 4
        STAGE["crane"].set()
        await host.settled()
