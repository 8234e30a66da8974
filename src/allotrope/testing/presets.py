"""Tests of an app under every preset: the same test, the same answers, wherever the app runs.

    from allotrope import App, Event, Table, component, on, query
    from allotrope.testing.presets import Live, every_preset

    class Ordered(Event, key="customer"):
        customer: str
        amount: int

    @component
    class Till:
        paid: Table[int]

        @on(Ordered)
        async def take(self, order: Ordered) -> None:
            await self.paid.put(order.customer, await self.total(order.customer) + order.amount)

        @query
        async def total(self, customer: str) -> int:
            return await self.paid.get(customer) or 0

    @every_preset(App("shop", Till), seeds=2)
    async def test_orders_add_up(live: Live) -> None:
        await live.publish(Ordered("ann", 12))
        await live.publish(Ordered("ann", 30))
        await live.settled()
        assert await live.of(Till).total("ann") == 42

pytest shows one test for each preset. Without pytest, `test_orders_add_up()` runs them one after the
other. Each gets a host of its own, a folder that is removed afterwards, and a clock that stands still until
it is moved. Not here: what an app's answers should be; and equality of answers between presets, which is
`allotrope check`.
"""

import asyncio
import contextlib
import functools
import inspect
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from allotrope import compose
from allotrope.evidence.chaos import Chaos, Stir
from allotrope.evidence.ticks import Ticks
from allotrope.kernel import codec
from allotrope.kernel.components import App
from allotrope.kernel.errors import Refused
from allotrope.kernel.messages import Event
from allotrope.kernel.views import micros
from allotrope.runtime.host import Host
from allotrope.runtime.options import Input, Options
from allotrope.runtime.records import Record

C = TypeVar("C")
E = TypeVar("E", bound=Event)
Test = Callable[..., Awaitable[None]]
START = datetime(2024, 1, 1, tzinfo=UTC)
STIRS: tuple[Stir, ...] = ("instances", "repeats", "doubles", "order")
PYTEST_NAME = "under"  # of the parameter that pytest fills


class Case(msgspec.Struct, frozen=True):
    """A preset and a seed; 0 is calm, others disturb: two instances, repeats, another order of work."""

    preset: str
    seed: int = 0

    def __str__(self) -> str:
        """Return how a test is told apart from its siblings."""
        return f"{self.preset}-seed{self.seed}" if self.seed else self.preset


class Live:
    """A live app in the hands of a test."""

    def __init__(self, app: App, case: Case, folder: Path) -> None:
        """Build the host, not yet started. PlanRefused when the app does not fit the preset."""
        self.app, self.case = app, case
        self.now = START
        self._chaos = Chaos(case.seed, STIRS if case.seed else ())
        self._ticks, self._sent = Ticks(app), 0
        self._differing: list[str] = []
        self._seen: set[str] = set()
        self._records: tuple[Record, ...] = ()  # in the order of their inputs
        options = Options(
            now=lambda: micros(self.now), ticks=False, disturbance=self._chaos, seed=case.seed,
            replicas=2 if case.seed else 1, recalled={},
        )  # fmt: skip
        self.host: Host = compose.build(app, case.preset, folder, options, self._differs)
        self._chaos.slow(door for doors in self.host.wiring.doors.values() for door in doors)
        list(self._ticks.due(micros(START)))

    def _differs(self, title: str, one: Any, other: Any) -> None:
        self._differing.append(f"{title}, asked twice, answered {one!r:.80} and then {other!r:.80}")

    async def publish(self, event: Event, request: str = "") -> None:
        """Let an event come in, now; with the same `request` it has no second effect."""
        given = self._input(request)
        for _ in range(2 if self._chaos.doubled() else 1):
            await self.host.publish(event, given)

    async def tell(self, title: str, *arguments: Any, request: str = "") -> Any:
        """Give the command `Component.operation` and return its reply; raise the fault that it declares."""
        return await self.host.tell(title, arguments, self._input(request))

    def of(self, kind: type[C]) -> C:
        """Return a component, to be asked and told, or a view, to be read."""
        return self.host.of(kind)

    async def settled(self) -> None:
        """Return once all that has come in has had its effects; `events` and `failures` know of these, then."""
        await self.host.settled()
        if self.host.plan.apart:  # what units have decided is in their own ledgers
            for record in (await self.host.site.contents()).records:
                self._chaos.saw(record)
        self._records = tuple(record for _, record in sorted(self._chaos.records.items()))

    async def at(self, moment: datetime | timedelta) -> None:
        """Move the clock to a moment, or on by a length of time; the ticks in between happen."""
        reached = self.now + moment if isinstance(moment, timedelta) else moment
        if reached < self.now:
            raise Refused(f"the clock stands at {self.now} and cannot go back to {reached}")
        await self.host.settled()
        for title, due in self._ticks.due(micros(reached)):
            self.now = START + timedelta(microseconds=due - micros(START))
            await self.host.tick(title, due)
            await self.host.settled()
        self.now = reached
        await self.settled()

    def events(self, kind: type[E]) -> tuple[E, ...]:
        """Return the events of a type that were published, up to the last `settled`, in the order of their inputs."""
        published = (pair for record in self._records for pair in record.events)
        return tuple(codec.decode(body, kind) for name, body in published if name == kind.__name__)

    def failures(self) -> tuple[str, ...]:
        """Return what handlers raised, up to the last `settled`; a test that does not ask for it fails with any."""
        found = {
            record.name + record.title: f"{record.title} on {record.kind}: {record.error}"
            for record in self._records
            if record.error and self.app.operation(record.title).kind != "command"
        }
        self._seen |= found.keys()
        return tuple(found.values())

    def _input(self, request: str) -> Input:
        self._sent += 1
        return Input(request=request or f"test-{self._sent}", at=self.now)

    def examine(self) -> None:
        """Raise AssertionError when a repeat was answered otherwise, or a handler has failed unnoticed."""
        seen = len(self._seen)
        wrong = [*dict.fromkeys(self._differing)]
        failures = self.failures()
        if len(self._seen) > seen:
            wrong += failures
        if wrong:
            raise AssertionError("\n".join([f"under {self.case}:", *(f"  {line}" for line in wrong)]))


@contextlib.asynccontextmanager
async def live(app: App | str, preset: str = compose.DEFAULT, seed: int = 0) -> AsyncIterator[Live]:
    """Yield a live app under one preset, and examine it afterwards; its files are removed."""
    made = compose.load(app) if isinstance(app, str) else app
    with tempfile.TemporaryDirectory(prefix="allotrope-test-") as folder:
        it = Live(made, Case(preset, seed), Path(folder))
        await it.host.start()
        try:
            yield it
            await it.settled()
            it.examine()
        finally:
            await it.host.close()


def every_preset(
    app: App | str, *, presets: Sequence[str] = (), seeds: int = 1
) -> Callable[[Test], Callable[..., None]]:
    """Return a decorator that runs `async def test(live: Live)` under each of `presets`, all by default.

    `seeds=3` adds two disturbed runs to the calm one of each preset. Further parameters of the test are
    fixtures.
    """
    named = tuple(presets) or compose.presets()
    cases = [Case(preset, seed) for preset in named for seed in range(seeds)]

    def decorate(test: Test) -> Callable[..., None]:
        parameters = list(inspect.signature(test).parameters.values())
        bound = parameters[:1] if parameters[:1] and parameters[0].name == "self" else []

        @functools.wraps(test)
        def ran(*own: Any, **given: Any) -> None:
            chosen = given.pop(PYTEST_NAME, None)
            for case in cases if chosen is None else [chosen]:
                try:
                    asyncio.run(_run(app, case, functools.partial(test, *own), given))
                except Exception as error:
                    error.add_note(f"under {case}")
                    raise

        under = inspect.Parameter(PYTEST_NAME, inspect.Parameter.KEYWORD_ONLY)
        fixtures = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in parameters[len(bound) + 1 :]]
        ran.__dict__["__signature__"] = inspect.Signature([*bound, *fixtures, under])
        pytest = sys.modules.get("pytest")  # told to a pytest that runs, never asked for
        return ran if pytest is None else pytest.mark.parametrize(PYTEST_NAME, cases, ids=str)(ran)

    return decorate


async def _run(app: App | str, case: Case, test: Test, given: dict[str, Any]) -> None:
    async with live(app, case.preset, case.seed) as it:
        await test(it, **given)
