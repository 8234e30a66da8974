"""Events, keys and views: each fault with its whole message."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from allotrope.kernel.aggregates import Aggregate, Mark
from allotrope.kernel.components import App, component
from allotrope.kernel.messages import Event, Message, Tick
from allotrope.kernel.operations import command, every, on, query
from allotrope.kernel.views import View, days
from allotrope.modules.features.api import Count, Last, Max, Mean, Min, Sum
from tests.planning.cases.events import SHOP, Opened, Payment, Scored, Sheet
from tests.planning.cases.twins.events import Echo
from tests.planning.refusal import faults, planned

app = App("shop", *SHOP)


class Keyless(Event):
    name: str


@component
class Handlers:
    @on(Sheet)  # type: ignore[arg-type]  # the fault
    async def message(self, sheet: Sheet) -> None: ...

    @on(Keyless)
    async def keyless(self, event: Keyless) -> None: ...

    @on()
    async def nothing(self, event: Keyless) -> None: ...

    @on(Payment)
    async def other(self, scored: Scored) -> None: ...

    @on(Payment)
    async def two(self, payment: Payment, more: int) -> None: ...

    @on(Payment, Scored)
    async def sound(self, event: Payment | Scored) -> tuple[Scored | Opened, ...] | None: ...


def test_what_a_handler_takes() -> None:
    keyless = "which has no key; name its entity: class Keyless(Event, key=...)"
    assert faults(Handlers) == [
        "Handlers.message handles Sheet, which is no Event; derive it from Event",
        f"Handlers.keyless handles Keyless, {keyless}",
        "Handlers.nothing is a handler of nothing; name its events: @on(Payment)",
        "Handlers.other handles Payment, but its parameter is Scored; make them agree",
        "Handlers.two takes 2 parameters; a handler takes one, the event or tick",
    ]


@component
class Givers:
    @on(Payment)
    async def number(self, payment: Payment) -> int | Scored: ...

    @every(days(1))
    async def tick(self, tick: Tick) -> tuple[Sheet, ...]: ...

    @command(key="crad")
    async def keyless(self, card: str) -> Keyless: ...

    @query
    async def event(self) -> tuple[Scored, ...]: ...

    @command(key="card")
    async def reply(self, card: str) -> tuple[Scored, Sheet]: ...


def test_what_an_operation_gives() -> None:
    remedy = "return an event, a tuple of events, or None"
    assert faults(Givers) == [
        f"Givers.number returns int, but nobody waits for its answer; {remedy}",
        f"Givers.tick returns Sheet, but nobody waits for its answer; {remedy}",
        "Givers.keyless publishes Keyless, which has no key; name its entity: class Keyless(Event, key=...)",
        "the key `crad` of Givers.keyless is not one of its parameters. Nearest: `card`.",
        "query Givers.event returns the event Scored, but a query publishes nothing; "
        "return a Message, or make it a command",
    ]


@component
class Sizes:
    @every(days(0))
    async def tick(self, tick: Tick) -> None: ...

    @query(deadline_s=0)
    async def ask(self) -> None: ...


def test_periods_and_deadlines_are_over_zero() -> None:
    assert faults(Sizes) == [
        "Sizes.tick runs every 0:00:00; a period is over 0",
        "Sizes.ask has deadline_s=0; it must be over 0",
    ]


@component
class Scores:
    @command(key="card")
    async def score(self, card: str) -> Scored: ...


def test_two_events_of_one_name() -> None:
    assert faults(Scores, Echo) == [
        "two events are called Scored, of tests.planning.cases.events "
        "and of tests.planning.cases.twins.events; rename one"
    ]


class Empty(View[Payment], at="at"):
    pass


class Sourceless(View):  # type: ignore[type-arg]  # the fault
    count = Count()


class Timeless(View[Payment]):
    total = Sum("amount", window=days(1))


class Wrong(View[Payment], key="crad", at="amount"):
    total = Sum("amout")
    ids = Sum("id")
    mean = Mean("at", window=days(1))
    none = Min(window=days(1))
    last = Last("id")
    latest = Max("at")


class Moved(View[Payment | Opened], at="moment"):
    count = Count(window=days(1))


class Homeless(View[Keyless]):
    count = Count()


def test_views() -> None:
    assert faults(Empty, Sourceless, Timeless, Wrong, Moved, Homeless) == [
        "view Empty has no aggregates; add one, as `count = Count(window=days(1))`",
        "view Sourceless does not say what it adds up; write class Sourceless(View[Payment])",
        'view Timeless has windows but no time; name it: class Timeless(View[...], at="at")',
        "view Wrong has `ids = Sum(...)` over `id`, which may be str; that cannot be added up",
        "view Wrong has `mean = Mean(...)` over `at`, which may be datetime; that cannot be added up",
        "view Wrong has `none = Min(...)` without a field; say what it is of. Known: amount, at, card, id.",
        "view Wrong has `total = Sum(...)` over `amout`, which Payment does not have. Nearest: `amount`.",
        "view Wrong is keyed by `crad`, which Payment does not have. Nearest: `card`.",
        "view Wrong takes its time from `amount` of Payment, which is no datetime. Nearest: `at`.",
        "view Moved takes its time from `moment`, which Opened does not have. Known: card.",
        "view Moved takes its time from `moment`, which Payment does not have. Nearest: `amount`.",
        'view Homeless adds up Keyless, which has no key; write Homeless(View[...], key="card")',
    ]


class Odd(Message):
    size: int


class Measured(Event, key="name"):
    name: str
    at: datetime
    size: float | None
    big: Decimal
    odd: Odd


class Halves(Aggregate[float]):
    """An expert's own: half the sum."""

    def zero(self) -> float:
        return 0.0

    def add(self, state: float, value: Any, mark: Mark) -> float:
        return state + value / 2

    def merge(self, one: float, other: float) -> float:
        return one + other

    def result(self, state: float) -> float:
        return state


class Tried(View[Measured], at="at"):
    half = Halves("size")
    name = Halves("name", window=days(1))
    biggest = Max("odd")
    last = Last("odd")
    mean = Mean("big", window=days(1), delay=days(7))


def test_an_aggregate_is_tried_with_a_value_of_its_field() -> None:
    assert faults(Tried) == [
        "view Tried has `biggest = Max(...)` over `odd`, which may be Odd; that cannot be added up",
        "view Tried has `half = Halves(...)` over `size`, which may be None; that cannot be added up",
        "view Tried has `name = Halves(...)` over `name`, which may be str; that cannot be added up",
    ]


def test_a_sound_shop_has_no_fault() -> None:
    assert planned(*SHOP).name == "shop.toml"
