"""Replay: one recorded decision computed again in one process, without the app; does it come out the same?

It needs the record and the component's code only. What is not on the tape is a difference, never a guess.
"""

import asyncio
import pdb
import sys
from bdb import BdbQuit
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from allotrope.evidence.archive.standins import Tape, Unrecorded, rebuilt
from allotrope.kernel import codec
from allotrope.kernel.calls import NEVER, Call, Effect
from allotrope.kernel.errors import Refused
from allotrope.kernel.messages import Event, Tick
from allotrope.kernel.operations import Operation, events_of
from allotrope.planning.plans import Plan
from allotrope.runtime.doors.dispatch import Door, Services
from allotrope.runtime.doors.limits import Slots
from allotrope.runtime.doors.redrive import MARK
from allotrope.runtime.effects.letters import Parked
from allotrope.runtime.records import Record
from allotrope.runtime.telemetry.secrets import mask
from allotrope.runtime.tracing import Tracer


class Difference(NamedTuple):
    """One place at which the record and the new run part."""

    place: str
    recorded: str
    now: str


class Replayed(msgspec.Struct, frozen=True):
    """What came of it: the places that differ, and how much was compared."""

    record: Record
    differences: tuple[Difference, ...]
    compared: str


class _Run(NamedTuple):
    answer: Any
    error: str
    effect: Effect


async def replayed(plan: Plan, record: Record, *, debug: bool = False) -> Replayed:
    """Compute a decision again and compare; with `debug` under pdb, stopped at the operation's first line.

    Raises Refused when the app does not have the operation or the event any more.
    """
    if record.error.startswith(f"{Parked.__name__}: "):
        return Replayed(record, (), "nothing ran: it waits behind a dead letter")
    if record.title.endswith(f".{MARK}"):
        return Replayed(record, (), "a redrive: what it led to are decisions of their own")
    operation = plan.app.operation(record.title)
    component = plan.app.components[operation.component]
    tape = Tape(record)
    instance = rebuilt(plan, component, tape)
    door = Door(operation, instance, Slots(component.name, 1, 1), Services(Tracer(per_second=0), threads=1))
    door.body = _inline(operation, instance)
    try:
        run = await _run(door, record, _arguments(plan, door, record), debug=debug)
    except Unrecorded as missing:
        return Replayed(record, (Difference("read", "never asked", str(missing)),), "")
    found = (
        *(Difference("read", what, "not asked") for what in tape.unasked()),
        *_differences(plan, operation, record, run),
    )
    return Replayed(record, found, _compared(record))


def _compared(record: Record) -> str:
    counts = {"read": len(record.tape), "event": len(record.events), "row": len(record.writes)}
    words = [f"{count} {name}{'s' * (count != 1)}" for name, count in counts.items() if count]
    return ", ".join([*words, "the error" if record.error else "the answer"])


def _inline(operation: Operation, instance: Any) -> Any:
    async def body(*arguments: Any) -> Any:
        # Not in a thread, as the host does it: a debugger stays where its breakpoint is.
        answer = operation.body(instance, *arguments)
        return await answer if operation.suspends else answer

    return body


def _arguments(plan: Plan, door: Door, record: Record) -> tuple[Any, ...]:
    if door.operation.kind == "command":
        return door.decoded(record.body)
    kind = {**plan.app.events(), "Tick": Tick}.get(record.kind)
    if kind is None:
        raise Refused(
            f"{record.name}: the app has no event {record.kind} any more; replay it with the code of its day"
        )
    return (codec.decode(record.body, kind),)


async def _run(door: Door, record: Record, arguments: tuple[Any, ...], *, debug: bool) -> _Run:
    effect = Effect()
    call = Call(
        door.operation.component, door.operation.name, record.origin, record.path, record.at, NEVER,
        record.tenant, record.request, effect, None, record.seed,
    )  # fmt: skip
    if debug:
        _stop_at(door.operation)
    try:
        return _Run(await door.run(call, arguments), "", effect)
    except Exception as error:
        if isinstance(error.__cause__, BdbQuit):
            raise Refused("left the debugger before the end; nothing was compared") from None
        return _Run(None, mask(f"{type(error).__name__}: {error}"), effect)
    finally:
        if debug:
            sys.settrace(None)


def _stop_at(operation: Operation) -> None:
    """Run on, and stop in pdb at the first line of the operation's body."""
    debugger = pdb.Pdb()
    code = operation.body.__code__
    debugger.reset()
    debugger.botframe = sys._getframe()  # pdb's own entries would stop here, in our code
    debugger.set_break(code.co_filename, code.co_firstlineno, temporary=True, funcname=code.co_name)
    debugger.set_continue()
    sys.settrace(debugger.trace_dispatch)


# -- comparing


def _differences(plan: Plan, operation: Operation, record: Record, run: _Run) -> Iterator[Difference]:
    if record.error != run.error:
        yield Difference("error", record.error or "none", run.error or "none")
        return
    if run.error:
        return  # it ended the same way: its effect was dropped, then and now
    yield from _events(plan, record, events_of(run.answer))
    yield from _writes(plan, record, run.effect)
    if codec.encode(run.answer) != record.answer:
        found = list(_parts("answer", codec.decode(record.answer, operation.result()), run.answer))
        if not events_of(run.answer):  # else said already, event by event
            yield from found or [Difference("answer", "other bytes", "of the same value")]


def _events(plan: Plan, record: Record, events: tuple[Event, ...]) -> Iterator[Difference]:
    for index in range(max(len(record.events), len(events))):
        name, body = record.events[index] if index < len(record.events) else ("", b"")
        now = events[index] if index < len(events) else None
        place = f"event #{index:03d}"
        if now is None or type(now).__name__ != name:
            yield Difference(place, name or "none", repr(now) if now is not None else "none")
        elif codec.encode(now) != body:
            yield from _parts(f"{place} {name}", codec.decode(body, type(now)), now)


def _writes(plan: Plan, record: Record, effect: Effect) -> Iterator[Difference]:
    before = {(table, key): row for table, key, row in record.writes}
    after = {place: None if row is None else codec.encode(row) for place, row in effect.writes.items()}
    for place in {**before, **after}:
        table, key = place
        shown = f"row {table}[{key!r}]"
        if place not in after or place not in before:
            yield Difference(shown, *(_row(rows, place) for rows in (before, after)))
        elif before[place] != after[place]:
            kind = type(effect.writes[place])
            known = before[place] is not None and after[place] is not None
            old = codec.decode(before[place] or b"", kind) if known else _row(before, place)
            yield from _parts(shown, old, effect.writes[place] if known else _row(after, place))


def _row(rows: dict[tuple[str, str], bytes | None], place: tuple[str, str]) -> str:
    if place not in rows:
        return "not written"
    row = rows[place]
    return "deleted" if row is None else repr(codec.decode(row))


def _parts(place: str, recorded: Any, now: Any) -> Iterator[Difference]:
    """Yield where two values part, down to fields and items."""
    if type(recorded) is not type(now):
        yield Difference(place, repr(recorded), repr(now))
    elif isinstance(now, msgspec.Struct):
        for field in now.__struct_fields__:
            yield from _parts(f"{place}.{field}", getattr(recorded, field), getattr(now, field))
    elif isinstance(now, tuple) and len(now) == len(recorded):
        for index, (one, other) in enumerate(zip(recorded, now, strict=True)):
            yield from _parts(f"{place}[{index}]", one, other)
    elif codec.encode(recorded) != codec.encode(now):
        yield Difference(place, repr(recorded), repr(now))


def chosen(records: list[Record], path: str, operation: str) -> list[Record]:
    """Return the records of one event, and of one operation, where these are given."""
    return [
        record
        for record in records
        if (not path or record.path == path) and (not operation or record.title == operation)
    ]


def run_replay(plan: Plan, record: Record, *, debug: bool = False) -> Replayed:
    """Return what came of replaying a decision; for callers that have no event loop."""
    return asyncio.run(replayed(plan, record, debug=debug))
