"""A kiosk at work: its host in this process, its units beside it, and customers who never stop."""

import asyncio
import contextlib
import os
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from allotrope.cli.fleet.ps import sight
from allotrope.compose import build, document
from allotrope.engines.processes.control import Seen
from allotrope.kernel.errors import Failed, Lost, Overloaded
from allotrope.runtime.host import Host
from allotrope.runtime.options import Input, Options
from tests.engines.processes.kiosk import Books, Desk, Order, app

CUSTOMERS = tuple("abcdefgh")
SPLIT = """
base = "microservices"
[unit.each]
components = ["*"]
each = true
replicas = [2, 2]
"""


class Shift:
    """One host and its folder."""

    def __init__(self, host: Host, folder: Path) -> None:
        self.host, self.folder = host, folder
        self.ordered: dict[str, list[int]] = {customer: [] for customer in CUSTOMERS}
        self.paid: Counter[str] = Counter()
        self.quotes = 0
        self.failures: list[BaseException] = []
        self._working: list[asyncio.Task[None]] = []

    async def processes(self, unit: str = "", state: str = "ready") -> list[Seen]:
        """What `allotrope ps` lists."""
        found = await asyncio.to_thread(sight, self.folder)
        return [p for p in found.processes if p.unit and unit in ("", p.unit) and state in ("", p.state)]

    async def until(self, there: Callable[[list[Seen]], bool], unit: str = "") -> float:
        """Return the seconds that it took until the processes are as wanted."""
        start = time.monotonic()
        async with asyncio.timeout(20):
            while not there(await self.processes(unit)):  # each look is a round trip: no busy waiting
                pass
        return time.monotonic() - start

    @contextlib.asynccontextmanager
    async def busy(self) -> AsyncIterator[None]:
        """Customers order, pay and ask for quotes, all the time; in the end all have what they should have."""
        self._working = [asyncio.create_task(self._visit(customer)) for customer in CUSTOMERS]
        try:
            yield
        finally:
            for task in self._working:
                task.cancel()
            await asyncio.gather(*self._working, return_exceptions=True)

    async def _visit(self, customer: str) -> None:
        desk, number = self.host.of(Desk), 0
        while True:
            number += 1
            booking = asyncio.ensure_future(self.host.publish(Order(customer, number)))
            self.ordered[customer].append(number)
            paying = asyncio.ensure_future(
                self.host.tell("Desk.pay", (customer,), Input(request=f"{customer}/{number}"))
            )
            self.paid[customer] += 1
            try:
                await asyncio.gather(asyncio.shield(booking), asyncio.shield(paying))
                await desk.quote(customer, number)
                self.quotes += 1
            except (Lost, Overloaded, Failed) as error:
                self.failures.append(error)
            finally:  # what is accepted is finished, whoever still waits
                await asyncio.gather(booking, paying, return_exceptions=True)

    async def settled(self) -> None:
        """All that was taken has had exactly one effect."""
        async with asyncio.timeout(30):
            await self.host.settled()
        books, desk = self.host.of(Books), self.host.of(Desk)
        for customer in CUSTOMERS:
            assert await books.numbers(customer) == tuple(self.ordered[customer])
            paid = await self.host.tell("Desk.pay", (customer,))
            assert paid == self.paid[customer] + 1
        assert desk is not None

    async def answered(self, after: int, more: int = 20) -> None:
        """Return once so many more quotes were given."""
        await met(lambda: self.quotes >= after + more)


@contextlib.asynccontextmanager
async def shift(folder: Path, topology: str = SPLIT) -> AsyncIterator[Shift]:
    """A kiosk that is open; whatever happens, nothing of it is left."""
    path = folder / "split.toml"
    path.write_text(topology)
    host = build(app, document(str(path)), folder / "kept", Options(ticks=False))
    try:
        await host.start()
        yield Shift(host, folder / "kept")
    finally:
        await host.close()
    assert list((folder / "kept" / "run").iterdir()) == []


async def met(condition: Callable[[], bool]) -> None:
    """Return once a condition holds that nobody announces, since another process brings it about."""
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.to_thread(time.sleep, 0.01)


def kill(process: Seen) -> None:
    os.kill(process.pid, signal.SIGKILL)


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False
