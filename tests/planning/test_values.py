"""Types that may cross a boundary, and declared faults: each fault with its whole message."""

from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any, ClassVar

from allotrope.kernel.components import App, component
from allotrope.kernel.messages import Event, Message, Tick
from allotrope.kernel.operations import command, every, on, query
from allotrope.kernel.tables import Table
from allotrope.kernel.views import days
from tests.planning.cases import events
from tests.planning.cases.events import SHOP, Closed, Opened, Payment, Sheet, TooLong
from tests.planning.refusal import faults, planned, refusal

if TYPE_CHECKING:
    from elsewhere import Missing

app = App("shop", *SHOP)


@component
class Loose:
    tags: list[str]
    rows: Table[dict[str, int]]
    bare: Table  # type: ignore[type-arg]  # the fault
    model: object

    @query
    async def find(self, names: list[str], limits: Any) -> set[str]:
        return {*names}

    @query
    async def untyped(self, name):  # type: ignore[no-untyped-def]  # the fault
        return name

    @query
    async def many(self, *names: str, **more: str) -> None:
        return None


def test_mutable_and_missing_types() -> None:
    remedy = "use a Message, a tuple or a plain value"
    assert faults(Loose) == [
        "Loose.bare is a Table of nothing; name its rows: Table[Decision]",
        f"Loose.model: object is not known to be immutable; {remedy}",
        "Loose.tags: list[str] can change after it is built; use tuple[..., ...]",
        "rows of Loose.rows: dict[str, int] can change after it is built; use a Message, or a tuple of pairs",
        f"parameter `limits` of Loose.find: Any is not known to be immutable; {remedy}",
        "parameter `names` of Loose.find: list[str] can change after it is built; use tuple[..., ...]",
        "the result of Loose.find: set[str] can change after it is built; use a sorted tuple",
        "Loose.untyped does not say what it returns; annotate it, `-> None` for nothing",
        "parameter `name` of Loose.untyped has no type; annotate it",
        "Loose.many takes `**more`; name each parameter, or take a tuple",
        "Loose.many takes `*names`; name each parameter, or take a tuple",
    ]


class Late(Message):
    inner: "Later"


class Later(Message):
    parts: "Words"


Words = list[str]


class Plain(Message):
    words: "Listed"


class Carrier(Message):
    plain: tuple[Plain, ...]


Listed = list[str]


@component
class Forward:
    @query
    async def late(self) -> Late | None:
        return None

    @query
    async def carry(self, carrier: Carrier) -> None:
        return None


def test_messages_are_looked_into_once_all_names_are_known() -> None:
    assert faults(Forward) == [
        "Later.parts: list[str] can change after it is built; use tuple[..., ...]",
        "Plain.words: list[str] can change after it is built; use tuple[..., ...]",
    ]


@component
class Unread:
    missing: "Missing"

    @query
    async def ask(self) -> "Missing": ...

    @query
    async def tell(self, names: list[str]) -> None: ...


class Half(Event, key="name"):
    name: str
    rest: "Missing"


@component
class Halved:
    @on(Half)
    async def take(self, half: Half) -> None: ...


def test_an_annotation_that_cannot_be_read_hides_no_other_fault() -> None:
    reason = "name 'Missing' is not defined; import it outside `if TYPE_CHECKING`, or define it in the module"
    assert sorted(faults(Unread, Halved)) == [  # before 3.13 the line of a message class is not known
        "parameter `names` of Unread.tell: list[str] can change after it is built; use tuple[..., ...]",
        f"the annotations of Unread.ask cannot be read: {reason}",
        f"the fields of Half cannot be read: {reason}",
        f"the fields of Unread cannot be read: {reason}",
    ]


@component
class Thrower:
    @query(faults=(Closed,))
    async def ask(self, name: str) -> str:
        try:
            return self._checked(name)
        except TooLong:
            raise Closed(card=name) from None

    def _checked(self, name: str) -> str:
        if len(name) > 9:
            raise events.TooLong(limit=9)
        return name

    @on(Payment)
    async def take(self, payment: Payment) -> None:
        for fail in [lambda: self._closed(payment.card)]:
            fail()

    def _closed(self, card: str) -> None:
        raise Closed(card=card)

    @command(key="card", faults=(Closed, TooLong))
    async def sound(self, card: str) -> None:
        self._closed(self._checked(card))

    @query
    async def passing(self, card: str) -> bool:
        try:
            return bool(card)
        except (Closed, TooLong) as error:
            return isinstance(error, Closed)

    @every(days(1))
    async def tick(self, tick: Tick) -> Opened:
        raise Closed(card="")


def test_faults_that_are_raised_but_not_declared() -> None:
    assert faults(Thrower) == [
        "Thrower.ask raises TooLong, which it does not declare (declared: Closed); add it to `faults=`",
        "Thrower.take raises Closed, which it does not declare (declared: none); add it to `faults=`",
        "Thrower.tick raises Closed, which it does not declare (declared: none); "
        "a tick has no caller: record an event instead",
    ]


def test_an_undeclared_fault_is_placed_where_it_is_raised() -> None:
    line = Thrower._checked.__code__.co_firstlineno + 2
    assert refusal(Thrower)[0].startswith(f"test_values.py:{line}  Thrower.ask raises TooLong")


@component
class Handmade:
    limit: int
    sheet: Sheet

    def __init__(self, limit: int, width: int) -> None:
        self.limit = limit


def test_a_constructor_of_its_own_agrees_with_the_fields() -> None:
    assert faults(Handmade, text="[setting]\nHandmade.limit = 1\nHandmade.sheet = { lines = [] }") == [
        "Handmade.__init__ does not take the field `sheet`; add the parameter, or drop __init__",
        "Handmade.__init__ takes `width`, which is no field; annotate it in the class, or give it a default",
    ]


class Parent:
    shared: ClassVar[dict[str, int]] = {}

    @query
    async def ask(self) -> int:
        return 1


@component
class Child(Parent):
    async def ask(self) -> int:
        return 2


def test_an_override_says_what_it_is() -> None:
    assert faults(Child) == [
        "Child.ask overrides the query of a parent undecorated, so it never runs; decorate it as well"
    ]


@component
class Batched:
    @query(batch=4)
    async def sound(self, values: tuple[float, ...]) -> tuple[float, ...]:
        return values

    @query(batch=4)
    async def single(self, value: float) -> float:  # type: ignore[arg-type]  # the fault
        return value


def test_a_batched_operation_takes_and_gives_a_tuple() -> None:
    assert faults(Batched) == [
        "Batched.single is batched; it returns a `tuple[R, ...]`, one for each value",
        "Batched.single is batched; it takes one parameter, a `tuple[T, ...]`",
    ]


@component
class Streaming:
    @query
    async def slow(self) -> AsyncIterator[str]:
        yield "a"

    @query
    def plain(self) -> Iterator[str]:
        yield "a"


def test_streams_are_judged_by_their_pieces() -> None:
    assert planned(Streaming).app.components["Streaming"].operations[1].name == "plain"
