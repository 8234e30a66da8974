"""The load of a soak: an app to be asked, and clients who ask as they should and as they should not."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import httpx

from allotrope import App, component, query
from examples import fraud

OPEN = 64  # requests at once that are waited for; more are not sent, and counted
CUSTOMERS, TERMINALS, DAY = 100, 20, timedelta(days=1)
FIRST = datetime(2000, 1, 1, 12, tzinfo=UTC)


@component
class Tail:
    """Answers in pieces, which nothing in the fraud example does."""

    @query
    async def read(self, pieces: int, size: int) -> AsyncIterator[str]:
        """Yield so many pieces of so many characters."""
        for number in range(pieces):
            await asyncio.sleep(0.001)
            yield f"{number:0{size}}"


app = App("soak", *(found.kind for found in fraud.app.components.values()), Tail)


@dataclass
class Load:
    """What clients do, and how it ended."""

    port: int
    key: str
    http: httpx.AsyncClient = field(init=False)
    ended: Counter[str] = field(default_factory=Counter)
    chance: random.Random = field(default_factory=lambda: random.Random(7))
    payments: int = 0
    labels: int = 0
    cases: list[str] = field(default_factory=list)

    @contextlib.asynccontextmanager
    async def clients(self) -> AsyncIterator[httpx.AsyncClient]:
        """Have connections of their own meanwhile."""
        limits = httpx.Limits(max_connections=OPEN, max_keepalive_connections=32, keepalive_expiry=5.0)
        headers, base = {"X-API-Key": self.key}, f"http://127.0.0.1:{self.port}"
        async with httpx.AsyncClient(base_url=base, headers=headers, timeout=30, limits=limits) as self.http:
            yield self.http

    @property
    def kinds(self) -> dict[str, tuple[float, Callable[[], Awaitable[object]]]]:
        """Return each kind of request by name: how many a second, and how one is made."""
        return {
            "payment": (25.0, self.pay),
            "label": (5.0, self.label),
            "decision": (10.0, self.ask),
            "case settled": (5.0, self.settle),
            "stream": (3.0, self.stream),
            "stream left": (2.0, self.leave),
            "cancelled": (5.0, self.cancel),
            "wrong key": (3.0, self.intrude),
            "unfit": (2.0, self.misspell),
            "late": (2.0, self.hurry),
            "slow reader": (0.3, self.stall),
        }

    async def run(self, seconds: float) -> None:
        """Send each kind at its rate for so long, and return once all have ended."""
        loop, tasks = asyncio.get_running_loop(), set[asyncio.Task[None]]()
        begun = loop.time()
        due = sorted(
            (number / rate, name)
            for name, (rate, _) in self.kinds.items()
            for number in range(int(rate * seconds))
        )
        for at, name in due:
            if (wait := begun + at - loop.time()) > 0:
                await asyncio.sleep(wait)
            if len(tasks) >= OPEN:
                self.ended[f"{name}: not sent"] += 1
                continue
            task = asyncio.create_task(self._one(name))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        await asyncio.gather(*tasks)

    async def _one(self, name: str) -> None:
        try:
            self.ended[f"{name}: {await self.kinds[name][1]()}"] += 1
        except (httpx.HTTPError, OSError) as error:
            self.ended[f"{name}: {type(error).__name__}"] += 1

    async def _post(self, path: str, body: object, **headers: str) -> httpx.Response:
        return await self.http.post(path, json=body, headers=headers)

    async def pay(self) -> int:
        """Submit a payment; one of ten is sent twice."""
        self.payments = number = self.payments + 1
        at = FIRST + number // CUSTOMERS * DAY
        body = {
            "id": f"p{number}", "customer": f"c{number % CUSTOMERS}", "terminal": f"t{number % TERMINALS}",
            "amount": round(self.chance.expovariate(1 / 200), 2), "at": at.isoformat(),
        }  # fmt: skip
        answer = await self._post("/events/Submitted", body, **{"Idempotency-Key": f"p{number}"})
        if number % 10 == 0:
            answer = await self._post("/events/Submitted", body, **{"Idempotency-Key": f"p{number}"})
        return answer.status_code

    async def label(self) -> int:
        """Tell the truth about a payment."""
        self.labels = number = self.labels + 1
        at = FIRST + number // TERMINALS * DAY
        body = {"id": f"p{number}", "terminal": f"t{number % TERMINALS}", "fraud": 0, "at": at.isoformat()}
        return (await self._post("/events/Labelled", body)).status_code

    async def ask(self) -> int:
        """Ask what was decided, or for all cases: what `settle` closes next."""
        if self.chance.random() < 0.5:
            number = self.chance.randint(1, max(self.payments, 1))
            return (await self._post("/Decisions/of", {"payment_id": f"p{number}"})).status_code
        answer = await self._post("/Desk/waiting", {"most": 100})
        if answer.status_code == 200:
            self.cases = [case["id"] for case in answer.json()]
        return answer.status_code

    async def settle(self) -> int:
        """Settle cases, each by a key of its own; 409 where another call was first, or nothing is open."""
        while len(self.cases) > 1:
            await self._settle(self.cases.pop())
        return await self._settle(self.cases.pop() if self.cases else "nobody")

    async def _settle(self, case: str) -> int:
        body = {"payment_id": case, "verdict": "approve", "reviewer": "ann"}
        key = {"Idempotency-Key": f"s{case}-{self.chance.random()}"}
        return (await self._post("/Desk/settle", body, **key)).status_code

    async def stream(self) -> str:
        """Read a stream to its end."""
        answer = await self._post("/Tail/read", {"pieces": 20, "size": 1000})
        whole = answer.text.endswith("event: end\ndata: {}\n\n")
        return f"{answer.status_code}{'' if whole else ', cut short'}"

    async def leave(self) -> int:
        """Go away in the middle of a stream."""
        async with self.http.stream("POST", "/Tail/read", json={"pieces": 10_000, "size": 1000}) as answer:
            async for _ in answer.aiter_bytes():
                break
        return answer.status_code

    async def cancel(self) -> str:
        """Hang up before the answer is there."""
        writer = (await self._asked("/Decisions/total", b'{"verdict": "review"}'))[1]
        await asyncio.sleep(self.chance.random() * 0.003)
        writer.transport.abort()
        return "gone"

    async def intrude(self) -> int:
        """Ask with a key that nobody has."""
        key = f"alt_{self.chance.getrandbits(48):012x}_{self.chance.getrandbits(200):x}"
        answer = await self._post("/Decisions/total", {"verdict": "review"}, **{"X-API-Key": key})
        return answer.status_code

    async def misspell(self) -> int:
        """Ask for what is not there, or with what does not fit."""
        path = self.chance.choice(("/Decisions/total", "/Decisions/totl", "/events/Submitted"))
        return (await self._post(path, {"verdikt": self.chance.getrandbits(64)})).status_code

    async def hurry(self) -> int:
        """Ask with next to no time for the answer."""
        return (await self._post("/Desk/waiting", {}, **{"X-Deadline-Ms": "1"})).status_code

    async def stall(self) -> str:
        """Ask for much and read nothing; the gateway has to hang up."""
        reader, writer = await self._asked("/Tail/read", b'{"pieces": 4000, "size": 20000}')
        try:
            async with asyncio.timeout(60):
                await asyncio.sleep(15.0)  # three times as long as the gateway waits
                while await reader.read(1 << 16):
                    pass
            return "read to its end" if not reader.at_eof() else "cut off"
        except (TimeoutError, ConnectionError) as error:
            return "still open" if isinstance(error, TimeoutError) else "cut off"
        finally:
            writer.transport.abort()

    async def _asked(self, path: str, body: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 14)
        head = f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nx-api-key: {self.key}\r\n"
        head += f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()
        return reader, writer
