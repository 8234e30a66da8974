"""Stand-ins: what a component holds while a decision is computed again. They answer from the record's tape.

A view gives back a reading of its own class, a table its rows, another's operation its answer or its error.
"""

from collections.abc import Callable, Iterator
from types import GenericAlias
from typing import Any, NoReturn

import msgspec

from allotrope.kernel import codec, errors
from allotrope.kernel.components import App, Chance, Clock, Component, Field
from allotrope.kernel.operations import Operation
from allotrope.kernel.tables import Table
from allotrope.kernel.views import View
from allotrope.planning.plans import Plan
from allotrope.runtime.doors.dispatch import Door, Proxy, Services
from allotrope.runtime.doors.limits import Slots
from allotrope.runtime.effects.ended import declared
from allotrope.runtime.records import Record, reading_of
from allotrope.runtime.tracing import Tracer

_PASSED_ON = (errors.Refused, errors.Overloaded, errors.Expired, errors.Lost)  # beside faults and Failed


class Unrecorded(BaseException):
    """Something was asked that the record does not hold. No Exception: the component must not catch it."""


class Tape:
    """The answers of one record, by what was asked and with which arguments, in their order."""

    def __init__(self, record: Record) -> None:
        """Begin with nothing asked."""
        self._left: dict[tuple[str, bytes], list[tuple[bool, bytes]]] = {}
        self._asked: set[tuple[str, bytes]] = set()
        for what, given, answer in record.tape:
            place = (what.removesuffix("!"), given)
            self._left.setdefault(place, []).append((what.endswith("!"), answer))

    def take(self, what: str, given: tuple[Any, ...]) -> tuple[bool, bytes]:
        """Return (whether it raised, what was recorded). Unrecorded when not asked, or not so often."""
        place = (what, codec.encode(given))
        self._asked.add(place)
        answers = self._left.get(place)
        if answers:
            return answers.pop(0)
        raise Unrecorded(f"{what}{_shown(given)}: {self._why(what, answers)}")

    def _why(self, what: str, answers: list[tuple[bool, bytes]] | None) -> str:
        if answers is not None:
            return "asked more often than in the record"
        others = [_shown(codec.decode(given)) for name, given in self._left if name == what]
        return f"not in the record, which holds {', '.join(others[:3]) or 'no such question'}"

    def unasked(self) -> list[str]:
        """Return what the record holds and nobody has asked this time."""
        return [f"{what}{_shown(codec.decode(given))}" for (what, given), left in self._left.items() if left]


def _shown(given: Any) -> str:
    return f"({', '.join(f'{value!r:.60}' for value in given)})"


def rebuilt(plan: Plan, component: Component, tape: Tape) -> Any:
    """Return an instance of a component with its settings, and stand-ins in all other fields."""
    services = Services(Tracer(per_second=0), threads=1)
    needs = {}
    for field in component.fields:
        if field.need != "setting":
            needs[field.name] = _stand_in(plan.app, component, field, tape, services)
        elif (name := f"{component.name}.{field.name}") in plan.topology.setting:
            needs[field.name] = plan.topology.setting[name]
    return component.kind(**needs)


def _stand_in(app: App, owner: Component, field: Field, tape: Tape, services: Services) -> Any:
    if field.need == "table":
        (kind,) = field.kind.__args__
        return Table(owner.name, field.name, kind, _Rows(tape, kind), encoded=False)
    if field.need == "view":
        return _view(field.kind, tape)
    if field.need == "clock":
        return Clock()
    if field.need == "chance":
        return Chance()
    provider = app.provider(field.kind)
    assert provider is not None, f"unplanned field {field.name}"
    queries = [operation for operation in provider.operations if operation.kind == "query"]
    return Proxy(provider.name, {query.name: _asked(query, tape, services) for query in queries})


class _Rows:
    """The committed rows that one operation has read."""

    def __init__(self, tape: Tape, kind: Any) -> None:
        self._tape, self._kind = tape, kind
        self._pairs = GenericAlias(tuple, (GenericAlias(tuple, (str, kind)), ...))

    def get(self, table: str, key: str) -> Any:
        return codec.decode(self._tape.take(f"{table}.get", (key,))[1], self._kind | None)

    def scan(self, table: str) -> Iterator[tuple[str, Any]]:
        yield from codec.decode(self._tape.take(f"{table}.items", ())[1], self._pairs)


def _view(kind: type[View[Any]], tape: Tape) -> View[Any]:
    view = kind()

    def reading(key: str, at: int, origin: int) -> Any:
        return reading_of(kind, tape.take(f"{kind.__name__}.of", (key, at))[1])

    view.__dict__["reading"] = reading  # before the class's own: `of` asks it as ever
    return view


def _asked(operation: Operation, tape: Tape, services: Services) -> Callable[..., Any]:
    door = Door(operation, None, Slots(operation.component, 1, 1), services)

    async def ask(*given: Any, **named: Any) -> Any:
        failed, answer = tape.take(operation.title, door.arguments(given, named))
        if failed:
            _raise(operation, answer)
        return codec.decode(answer, door.result)

    def stream(*given: Any, **named: Any) -> NoReturn:
        raise Unrecorded(f"{operation.title}: streams are not recorded")

    return stream if operation.streams else ask


def _raise(operation: Operation, recorded: bytes) -> NoReturn:
    name, body = codec.decode(recorded, tuple[str, msgspec.Raw])
    if name == "Failed":
        raise errors.Failed(*codec.decode(bytes(body), tuple[str, str, str]))
    if any(fault.__name__ == name for fault in operation.faults):
        raise declared(operation, name, bytes(body))
    kinds: dict[str, type[Exception]] = {kind.__name__: kind for kind in _PASSED_ON}
    raise kinds.get(name, errors.Refused)(codec.decode(bytes(body), str))
