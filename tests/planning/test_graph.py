"""Dependencies, calls, cycles, tables of others: each fault with its whole message."""

from typing import Any, Protocol

from allotrope.kernel.components import App, component
from allotrope.kernel.operations import command, on, query
from allotrope.kernel.tables import Table
from allotrope.planning.graph import Reach
from tests.planning.cases.events import SHOP, Desk, Features, Opened, Payment, Scored, Spending
from tests.planning.refusal import faults, planned

app = App("shop", *SHOP)  # a module that composes an app may know every component


@component
class Auditor:
    desk: Desk
    spending: Spending

    @query
    async def audit(self) -> tuple[str, ...]:
        return await self.desk.waiting()


def test_a_dependency_that_the_app_does_not_have() -> None:
    remedy = "which app shop does not have; add it to App(...). Known: Auditor."
    assert faults(Auditor) == [
        f"Auditor.desk needs `Desk`, {remedy}",
        f"Auditor.spending needs `Spending`, {remedy}",
    ]


def test_a_dependency_of_the_same_name_from_another_module() -> None:
    other = component(type("Desk", (), {"__module__": "elsewhere"}))
    (fault,) = faults(Spending, Auditor, other)
    line = fault.partition("elsewhere:")[2].partition(")")[0]
    assert fault == (
        "Auditor.desk needs `Desk` of tests.planning.cases.events, but the app's `Desk` is another class "
        f"(elsewhere:{line}); import that one"
    )


class Ranks(Protocol):
    async def rank(self, text: str) -> float: ...
    async def explain(self, text: str) -> str: ...


@component
class Fast:
    @query
    async def rank(self, text: str) -> float:
        return 1.0


@component
class Full:
    fast: Fast

    @query
    async def rank(self, text: str) -> float:
        return await self.fast.rank(text)

    @query
    async def explain(self, text: str) -> str:
        return text


@component
class Twin:
    @query
    async def rank(self, text: str) -> float:
        return 2.0

    @query
    async def explain(self, text: str) -> str:
        return text


@component
class Asker:
    ranks: Ranks

    @query
    async def ask(self, text: str) -> float:
        return await self.ranks.rank(text)


def test_a_protocol_is_filled_by_the_one_component_that_has_its_face() -> None:
    made = planned(Fast, Full, Asker)
    assert made.calls["Asker.ask"] == (Reach("ranks", "Full", "rank"),)


def test_a_face_that_no_component_has() -> None:
    assert faults(Fast, Asker) == [
        "Asker.ranks asks for the face `Ranks` (rank, explain), which no component of app shop has; add one. "
        "Nearest: `Fast`, which lacks explain."
    ]


def test_a_face_that_several_components_have() -> None:
    assert faults(Fast, Full, Twin, Asker) == [
        "Asker.ranks asks for the face `Ranks` (rank, explain), and several have it: Full, Twin; "
        "name one as the type"
    ]


class Answers(Protocol):
    async def reply(self) -> str: ...


@component
class First:
    second: "Second"

    @query
    async def ask(self) -> str:
        return await self.second.tell()


@component
class Second:
    third: Answers

    @query
    async def tell(self) -> str:
        return await self.third.reply()


@component
class Third:
    first: First

    @query
    async def reply(self) -> str:
        return await self.first.ask()


def test_calls_that_go_round() -> None:
    assert faults(First, Second, Third) == [
        "the calls go round: First -> Second -> Third -> First; let one of them publish an event instead"
    ]


@component
class Reader:
    auditor: Auditor
    desk: Desk
    own: Table[Scored]

    @on(Payment)
    async def read(self, payment: Payment) -> None:
        await self.own.get(payment.card)
        await self.auditor.audit()

    @command(key="card")
    async def note(self, card: str) -> None:
        await self._noted()

    async def _noted(self) -> None:
        if not await self.desk.waiting():
            await self.own.delete("")

    @query
    async def look(self) -> tuple[str, ...]:
        return await self.desk.waiting()


def test_a_hidden_read_is_named_with_its_way() -> None:
    remedy = "what it finds depends on timing; make it a View, or carry the value in the event"
    assert faults(Spending, Desk, Auditor, Reader) == [
        "Reader.read reads the table Desk.cases of another component, "
        f"Reader.read -> Auditor.audit -> Desk.waiting: {remedy}",
        f"Reader.note reads the table Desk.cases of another component, Reader.note -> Desk.waiting: {remedy}",
    ]


@component
class Pushy:
    desk: Desk

    @on(Opened)
    async def shut(self, opened: Opened) -> None:
        await self.desk.close(opened.card)
        await self.desk.open(Scored(opened.card, 1.0))

    @query
    async def again(self) -> None:
        return None

    @command(key="card")
    async def force(self, card: str) -> None:
        await self.shut(Opened(card))


def test_commands_and_handlers_are_not_called() -> None:
    assert faults(Spending, Desk, Pushy) == [
        "Pushy.shut calls the command Desk.close, but one operation is one transaction; "
        "publish an event that Desk handles",
        "Pushy.shut calls the handler Desk.open, which only its event may run; publish the event",
        "Pushy.force calls its own handler `shut`, but one operation is one transaction; "
        "move what both do into a plain method",
    ]


def total(desk: Any) -> int:
    return len(str(desk))


@component
class Passing:
    desk: Desk

    @query
    async def wait(self) -> int:
        return total(self.desk)

    @on(Opened)
    async def read(self, opened: Opened) -> None:
        if total(self):
            return None


def test_a_field_that_is_passed_on_may_be_asked_all_its_queries() -> None:
    assert faults(Desk, Passing) == [
        "Passing.read reads the table Desk.cases of another component, Passing.read -> Desk.waiting: "
        "what it finds depends on timing; make it a View, or carry the value in the event"
    ]


@component
class Careless:
    features: Features
    spending: Spending
    rows: Table[Scored]

    @query
    async def peek(self) -> str:
        await self.features.totl("")  # type: ignore[attr-defined]  # the fault
        return str(self.spending.entries())

    @query
    async def keep(self, scored: Scored) -> None:
        await self.rows.put(scored.card, scored)
        self.rows.clear()  # type: ignore[attr-defined]  # the fault


def test_faces_are_used_as_they_are() -> None:
    assert faults(Spending, Features, Careless) == [
        "Careless.peek uses `features.totl`, which is no operation of Features. Nearest: `total`.",
        "Careless.peek uses `spending.entries`; a view is read with `spending.of(key)` only",
        "Careless.keep uses `rows.put`, but a query only reads; make it a command",
        "Careless.keep uses `rows.clear`, which a Table does not have. Known: delete, get, items, put.",
    ]
