"""Two versions of a small shop, served from a folder as a user would, and a load of clients against it."""

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

V1 = """
from allotrope import App, Count, Event, Table, View, command, component, on, query

class Sold(Event, key="shop"):
    shop: str
    amount: float

class Noted(Event, key="shop"):
    shop: str
    total: float

class Notes(View[Noted]):
    noted = Count()

@component
class Till:
    notes: Notes
    totals: Table[float]

    @on(Sold)
    async def sell(self, sold: Sold) -> Noted:
        await self.notes.of(sold.shop)
        total = (await self.totals.get(sold.shop) or 0.0) + sold.amount
        await self.totals.put(sold.shop, total)
        return Noted(sold.shop, total)

    @query
    async def total(self, shop: str) -> float:
        return await self.totals.get(shop) or 0.0

@component
class Ledger:
    seen: Table[int]

    @on(Noted)
    async def note(self, noted: Noted) -> None:
        await self.seen.put(noted.shop, (await self.seen.get(noted.shop) or 0) + 1)

    @query
    async def count(self, shop: str) -> int:
        return await self.seen.get(shop) or 0

app = App("till", Notes, Till, Ledger)
"""
V2 = (
    V1.replace("    amount: float\n", '    amount: float\n    currency: str = "eur"\n')
    .replace("    total: float\n", '    total: float\n    currency: str = ""\n')
    .replace("Noted(sold.shop, total)", "Noted(sold.shop, total, sold.currency)")
    .replace(
        "app = App",
        """    @query
    async def known(self, shop: str) -> bool:
        return await self.seen.get(shop) is not None

app = App""",
    )
)
ROOT = Path(__file__).parents[2]
COMMAND = (sys.executable, "-m", "allotrope")


class Shop:
    """The app as it is served from one folder."""

    def __init__(self, place: Path, topology: str = "microservices") -> None:
        self.place, self.base, self.topology = place, "", topology
        self.process: asyncio.subprocess.Process | None = None
        self.sold: dict[str, int] = {}
        self.failures: list[str] = []
        self._over = False

    def write(self, text: str) -> None:
        """Put a version of the app there."""
        (self.place / "till_app.py").write_text(text)

    async def start(self) -> None:
        """Serve it, and wait until it does."""
        arguments = ("serve", "till_app", "-t", self.topology, "--folder", "kept", "--port", "0")
        self.process = await asyncio.create_subprocess_exec(
            *COMMAND, *arguments, cwd=self.place, stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        )  # fmt: skip
        assert self.process.stderr is not None
        said = ""
        async for line in self.process.stderr:
            said += line.decode()
            if found := re.search(r"serves +(http://\S+?),", said):
                self.base = found[1]
                self._draining = asyncio.create_task(self.process.stderr.read())
                return
        raise AssertionError(said)

    async def stop(self) -> None:
        """End it as Ctrl-C does."""
        assert self.process is not None
        self.process.send_signal(signal.SIGINT)
        await self.process.wait()

    async def run(self, *arguments: str) -> str:
        """Return what a command of the command line says."""
        process = await asyncio.create_subprocess_exec(
            *COMMAND, *arguments, "--folder", "kept", cwd=self.place, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, env={**os.environ, "COLUMNS": "160"},
        )  # fmt: skip
        said, _ = await process.communicate()
        assert process.returncode == 0, said.decode()
        return said.decode()

    async def pids(self) -> dict[str, int]:
        """Return the process of each replica by its name."""
        lines = [line.split() for line in (await self.run("ps")).splitlines()]
        return {words[1]: int(words[3]) for words in lines if len(words) > 3 and "-" in words[1]}

    @asynccontextmanager
    async def busy(self, clients: int = 4, *, patient: bool = False) -> AsyncIterator[None]:
        """Have clients sell and ask all the while; `patient` ones send again what got no answer."""
        self._over = False
        tasks = [asyncio.create_task(self._client(f"s{number}", patient)) for number in range(clients)]
        try:
            yield
        finally:
            self._over = True
            await asyncio.gather(*tasks)

    async def _client(self, shop: str, patient: bool) -> None:
        async with httpx.AsyncClient(base_url=self.base, timeout=20) as http:
            while not self._over:
                number = self.sold[shop] = self.sold.get(shop, 0) + 1
                headers = {"Idempotency-Key": f"{shop}-{number}"}
                for _ in range(100 if patient else 1):
                    try:
                        answer = await http.post(
                            "/events/Sold", json={"shop": shop, "amount": 1.0}, headers=headers
                        )
                        asked = await http.post("/Till/total", json={"shop": shop})
                        if answer.status_code == 202 and asked.status_code == 200:
                            break
                        failure = f"{answer.status_code} {answer.text} {asked.status_code} {asked.text}"
                    except httpx.HTTPError as error:
                        failure = repr(error)
                    if patient:
                        await asyncio.sleep(0.05)
                    else:
                        self.failures.append(failure)

    async def counted(self) -> dict[str, tuple[float, int]]:
        """Return (total, number of notes) by shop, once nothing is on its way."""
        async with httpx.AsyncClient(base_url=self.base, timeout=20) as http:
            async with asyncio.timeout(60):
                while True:
                    found = {
                        shop: (
                            (await http.post("/Till/total", json={"shop": shop})).json(),
                            (await http.post("/Ledger/count", json={"shop": shop})).json(),
                        )
                        for shop in self.sold
                    }
                    if all(total == count >= self.sold[shop] for shop, (total, count) in found.items()):
                        return found
                    await asyncio.sleep(0.05)
