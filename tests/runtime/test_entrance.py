"""Who waits for room comes in by the order of arrival, as many at once as there is room for."""

import asyncio
from pathlib import Path

from allotrope import App, Event, Table, component, on, query
from allotrope.compose import build
from allotrope.kernel.errors import Refused
from allotrope.runtime.host import Host
from allotrope.runtime.options import Options
from allotrope.storage import points

WINDOW, MANY = 16, 96
GATE: list[asyncio.Event] = []


class Paid(Event, key="card"):
    card: str
    number: int


@component
class Book:
    """Notes what was paid, and waits meanwhile where the test says so."""

    numbers: Table[int]

    @on(Paid)
    async def note(self, paid: Paid) -> None:
        await GATE[0].wait()
        await self.numbers.put(str(paid.number), paid.number)

    @query
    async def noted(self) -> tuple[int, ...]:
        return tuple(sorted([number async for _, number in self.numbers.items()]))


def opened(folder: Path) -> Host:
    file = folder / "small.toml"
    file.write_text(f'base = "modular-monolith"\nwindow = {WINDOW}\n', "utf-8")
    GATE[:] = [asyncio.Event()]
    return build(App("entrance", Book), str(file), folder / "kept", Options(ticks=False))


async def paid(host: Host, number: int) -> int:
    return await host.publish(Paid(f"card {number}", number))


async def crowd(host: Host) -> list["asyncio.Task[int]"]:
    """Return publishers of whom the first fill the window, and the others wait."""
    tasks = [asyncio.create_task(paid(host, number)) for number in range(MANY)]
    await asyncio.wait(tasks[:WINDOW])
    assert not any(task.done() for task in tasks[WINDOW:])
    return tasks


async def test_who_came_first_gets_the_smaller_origin(tmp_path: Path) -> None:
    host = opened(tmp_path)
    await host.start()
    tasks = await crowd(host)
    GATE[0].set()
    async with asyncio.timeout(20):
        while not all(task.done() for task in tasks[:MANY]):  # while they come in, others arrive
            tasks.append(asyncio.create_task(paid(host, len(tasks))))
            await asyncio.sleep(0)
        origins = await asyncio.gather(*tasks)
    assert len(origins) > MANY
    assert origins == sorted(origins)
    assert await host.drain()


async def test_those_who_waited_are_appended_together(tmp_path: Path) -> None:
    """One transaction of the log for each of them made waiting the slowest part of all."""
    host = opened(tmp_path)
    await host.start()
    tasks = await crowd(host)
    groups: list[str] = []
    points.listen(lambda point: groups.append(point) if point == "append.before" else None)
    try:
        GATE[0].set()
        async with asyncio.timeout(20):
            await asyncio.gather(*tasks)
    finally:
        points.listen(None)
    assert len(groups) <= (MANY - WINDOW) / 4
    assert await host.drain()


async def test_who_has_gone_keeps_no_place(tmp_path: Path) -> None:
    host = opened(tmp_path)
    await host.start()
    tasks = await crowd(host)
    gone = tasks[WINDOW : WINDOW * 3]
    for task in gone:
        task.cancel()
    await asyncio.wait(gone)
    GATE[0].set()
    async with asyncio.timeout(20):
        origins = await asyncio.gather(*tasks[:WINDOW], *tasks[WINDOW * 3 :])
        await host.settled()
    assert len(set(origins)) == MANY - len(gone)
    assert await host.of(Book).noted() == tuple(sorted({*range(WINDOW), *range(WINDOW * 3, MANY)}))
    assert await host.drain()


async def test_a_close_refuses_who_waits(tmp_path: Path) -> None:
    host = opened(tmp_path)
    await host.start()
    tasks = await crowd(host)
    await host.close()
    async with asyncio.timeout(20):
        ends = await asyncio.gather(*tasks[WINDOW:], return_exceptions=True)
    assert all(isinstance(end, Refused) for end in ends)
