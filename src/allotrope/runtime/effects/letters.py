"""Letters: events that a handler could not take, kept in the ledger in the order of their key, and what waits behind.

From its first letter on a key is parked at a component: its later events become letters too, without running. All else
goes on. Letters are rows under names that no table can have, written by the commit of the delivery that they are about.
Not here: running a handler (`taking`), the input by which letters come in again (`doors.redrive`).
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, NamedTuple, TypeVar

import msgspec

from allotrope.kernel import codec
from allotrope.kernel.errors import Failed, Refused
from allotrope.runtime.doors.redrive import DISCARD, Again, again_of
from allotrope.runtime.effects.ended import Ended
from allotrope.runtime.routes import Delivery
from allotrope.runtime.telemetry.secrets import mask
from allotrope.storage.ports import Envelope, Ledger

KEYS = "/parked"  # the table of parked keys
MOST = 1000  # letters that one input brings back, or that somebody is shown
LARGE = 4 << 20  # bytes of the events that somebody is shown
T = TypeVar("T")


class DeadLetter(msgspec.Struct, frozen=True, array_like=True):
    """An event that one handler has not taken. Times are microseconds since 1970."""

    title: str  # of the handler
    envelope: Envelope
    number: int  # in the order of its key
    kind: str  # class of what was raised, "Parked" when it waits behind others and never ran
    reason: str
    attempts: int
    first: int
    last: int
    trace: str = ""  # W3C traceparent of the last attempt

    @property
    def name(self) -> str:
        """Return the name of the event."""
        return self.envelope.name


class ParkedKey(msgspec.Struct, frozen=True, array_like=True):
    """A key whose events wait at a component."""

    component: str
    key: str
    head: int  # number of its first letter
    next: int  # of the letter to come
    count: int
    since: int
    kind: str  # of its first letter, the only one that was tried


class Parked(Refused):
    """An event was not run: one before it, of its key, is a dead letter."""


class Change(NamedTuple):
    """What a commit changes of the letters of one key; `parked` is None when none are left."""

    place: tuple[str, str]
    rows: tuple[tuple[str, str, Any], ...]
    parked: ParkedKey | None


class Met(NamedTuple):
    """A delivery as it is to be run: of an event that comes again that event. `why` says that it is not to run."""

    delivery: Delivery
    letter: DeadLetter | None = None
    why: Exception | None = None


class Search(msgspec.Struct, frozen=True, array_like=True):
    """Which letters somebody looks for; "" and 0 stand for any, and a limit of 0 for none but their keys."""

    component: str = ""
    key: str | None = None
    since: int = 0
    reason: str = ""
    name: str = ""
    limit: int = MOST

    @property
    def fine(self) -> bool:
        """Return whether it tells letters of one key apart."""
        return bool(self.since or self.reason or self.name)


class Found(msgspec.Struct, frozen=True, array_like=True):
    """Parked keys, and the letters that were looked for, up to the limit; `count` is of all of them."""

    keys: tuple[ParkedKey, ...] = ()
    letters: tuple[DeadLetter, ...] = ()
    count: int = 0


class Letters:
    """The letters of one ledger."""

    def __init__(self, ledger: Ledger, *, encoded: bool) -> None:
        """Know which keys are parked; `encoded` when the ledger keeps bytes."""
        self.ledger, self._encoded = ledger, encoded
        self.parked: dict[tuple[str, str], ParkedKey] = {}
        self.load()

    def load(self) -> None:
        """Look again which keys are parked: another process may have written."""
        self.parked = {(known.component, known.key): known for known in parked_keys(self.ledger.scan)}

    # -- before a delivery

    def met(self, delivery: Delivery, kinds: dict[str, Any]) -> Met:
        """Return what to do about a delivery whose key may be parked, or that comes again."""
        route = delivery.route
        parked = self.parked.get((route.component, delivery.key))
        if not route.special or route.told:
            held = parked is not None and not route.told and delivery.envelope.kind != "Tick"
            return Met(delivery, None, _behind(delivery) if held else None)
        again: Again = delivery.value
        if again.past:
            past = codec.decode(again.past, Envelope)
            return self._as(delivery, past, None, _behind(delivery) if parked else None, kinds)
        letter = None if parked is None else self._letter(parked, again)
        if parked is None or letter is None:
            return Met(
                delivery, None, Parked(f"{again.name} is no dead letter of {route.component} any more")
            )
        return self._as(
            delivery,
            letter.envelope,
            letter,
            _behind(delivery) if again.number != parked.head else None,
            kinds,
        )

    def _letter(self, parked: ParkedKey, again: Again) -> DeadLetter | None:
        row = self.ledger.get(table_of(parked.component, parked.key), _row(again.number))
        letter = None if row is None else _read(row, DeadLetter)
        return letter if letter is not None and letter.name == again.name else None

    def _as(
        self,
        delivery: Delivery,
        was: Envelope,
        letter: DeadLetter | None,
        why: Exception | None,
        kinds: dict[str, Any],
    ) -> Met:
        """Return the delivery of an event as it was, under the name that it has now."""
        now = delivery.envelope
        envelope = Envelope(
            was.kind,
            now.key,
            was.body,
            now.at,
            now.origin,
            now.path,
            was.request,
            was.tenant,
            now.trace,
            was.time,
        )
        operation = delivery.route.operation
        try:
            value = codec.decode(was.body, kinds[was.kind])
        except (msgspec.ValidationError, Refused, KeyError) as error:
            value = None
            why = why or Failed(operation.component, operation.name, f"{was.kind} cannot be read: {error}")
        return Met(Delivery(delivery.route, envelope, value, delivery.key, delivery.position), letter, why)

    # -- the command

    def ordered(self, component: str, arguments: tuple[Any, ...]) -> tuple[tuple[Again, ...], int]:
        """Return what the command of a component publishes, and what it answers."""
        key, what, number, past = arguments
        if past:
            events = (
                again_of(title)(key, codec.decode(body, Envelope).name, past=body) for title, body in past
            )
            return tuple(events), len(past)
        letters = letters_of(self.ledger.scan, component, key)
        if what == DISCARD:
            return (), sum(number in (-1, letter.number) for letter in letters)
        again = (again_of(each.title)(key, each.name, each.number) for each in islice(letters, MOST))
        published = tuple(again)
        return published, len(published)

    # -- with a commit

    def change(self, ended: Ended, letter: DeadLetter | None, now: int) -> Change | None:
        """Return what the end of a delivery changes of the letters of its key."""
        delivery, error = ended.delivery, ended.error
        route = delivery.route
        place = route.component, delivery.key
        parked = self.parked.get(place)
        if route.told:
            if route.special and parked is not None and delivery.value[1] == DISCARD:
                number = delivery.value[2]
                letters = letters_of(self.ledger.scan, *place)
                gone = {each.number for each in letters if number in (-1, each.number)}
                return self._without(parked, gone) if gone else None
            return None
        if letter is not None and parked is not None:
            if error is None:
                return self._without(parked, {letter.number})
            return None if isinstance(error, Parked) else self._tried(parked, letter, ended, now)
        # Of what is no letter any more there is nothing to keep; of a tick the next one does what it has not.
        if error is None or isinstance(delivery.value, Again) or delivery.envelope.kind == "Tick":
            return None
        return self._added(parked, place, ended, now)

    def _added(self, parked: ParkedKey | None, place: tuple[str, str], ended: Ended, now: int) -> Change:
        kind, reason = _said(ended.error)
        parked = parked or ParkedKey(*place, 0, 0, 0, now, kind)
        envelope, attempts = ended.delivery.envelope, ended.attempts
        if not envelope.body:
            envelope = msgspec.structs.replace(envelope, body=codec.encode(ended.delivery.value))
        letter = DeadLetter(
            ended.delivery.route.title, envelope, parked.next, kind, reason, attempts, ended.began or now, now,
            _trace(ended),
        )  # fmt: skip
        after = msgspec.structs.replace(parked, next=parked.next + 1, count=parked.count + 1)
        rows = (table_of(*place), _row(letter.number), letter), (KEYS, _name(*place), after)
        return Change(place, rows, after)

    def _tried(self, parked: ParkedKey, letter: DeadLetter, ended: Ended, now: int) -> Change:
        kind, reason = _said(ended.error)
        attempts = letter.attempts + ended.attempts
        tried = msgspec.structs.replace(
            letter, kind=kind, reason=reason, attempts=attempts, last=now, trace=_trace(ended)
        )
        after = msgspec.structs.replace(parked, kind=kind)
        place = parked.component, parked.key
        rows = (table_of(*place), _row(letter.number), tried), (KEYS, _name(*place), after)
        return Change(place, rows, after)

    def _without(self, parked: ParkedKey, gone: set[int]) -> Change:
        place = parked.component, parked.key
        table, count = table_of(*place), parked.count - len(gone)
        rows: list[tuple[str, str, Any]] = [(table, _row(number), None) for number in sorted(gone)]
        after, head = None, parked.head
        while count > 0:
            row = None if head in gone else self.ledger.get(table, _row(head))
            if row is not None:
                kind = _read(row, DeadLetter).kind
                after = msgspec.structs.replace(parked, head=head, count=count, kind=kind)
                break
            head += 1
        return Change(place, (*rows, (KEYS, _name(*place), after)), after)

    def rows(self, change: Change | None) -> tuple[tuple[str, str, Any], ...]:
        """Return the rows of a change as the ledger keeps them."""
        if change is None or not self._encoded:
            return () if change is None else change.rows
        return tuple((t, key, None if row is None else codec.encode(row)) for t, key, row in change.rows)

    def apply(self, change: Change) -> None:
        """Take note of a change that was committed."""
        if change.parked is None:
            self.parked.pop(change.place, None)
        else:
            self.parked[change.place] = change.parked


Scan = Callable[[str], Iterable[tuple[str, Any]]]  # rows of a table, in the order of their keys


def parked_keys(scan: Scan) -> Iterator[ParkedKey]:
    """Yield the parked keys of a ledger."""
    for _, row in scan(KEYS):
        yield _read(row, ParkedKey)


def letters_of(scan: Scan, component: str, key: str) -> Iterator[DeadLetter]:
    """Yield the letters of one key, in its order."""
    for _, row in scan(table_of(component, key)):
        yield _read(row, DeadLetter)


def found(scan: Scan, search: Search) -> Found:
    """Return the parked keys and letters that somebody looks for."""
    keys, letters, count, size = [], list[DeadLetter](), 0, 0
    for parked in parked_keys(scan):
        if search.component not in ("", parked.component) or search.key not in (None, parked.key):
            continue
        if not (search.limit or search.fine):
            keys.append(parked)
            count += parked.count
            continue
        before = count
        for letter in letters_of(scan, parked.component, parked.key):
            if _sought(letter, search):
                count, size = count + 1, size + len(letter.envelope.body)
                if not letters or (len(letters) < search.limit and size < LARGE):
                    letters.append(letter)
        if count > before:
            keys.append(parked)
    return Found(tuple(keys), tuple(letters), count)


def joined(parts: Iterable[Found], search: Search) -> Found:
    """Return what several ledgers have, as one."""
    parts = list(parts)
    return Found(
        tuple(parked for part in parts for parked in part.keys),
        tuple(letter for part in parts for letter in part.letters)[: search.limit],
        sum(part.count for part in parts),
    )


def _sought(letter: DeadLetter, search: Search) -> bool:
    reason = f"{letter.kind}: {letter.reason}".lower()
    return (
        letter.last >= search.since
        and search.reason.lower() in reason
        and search.name in ("", *_names(letter))
    )


def _names(letter: DeadLetter) -> tuple[str, ...]:
    """Return what a letter is called: as its input, event, delivery, or by its request id."""
    envelope = letter.envelope
    return str(envelope.origin), letter.name, f"{letter.name}/{letter.title}", envelope.request


def table_of(component: str, key: str) -> str:
    """Return the table of the letters of one key."""
    return f"/letters/{component}/{key}"


def _name(component: str, key: str) -> str:
    return f"{component}/{key}"


def _row(number: int) -> str:
    return f"{number:012d}"


def _read(row: Any, kind: type[T]) -> T:
    """Return a row that is kept as it is, or as bytes."""
    if isinstance(row, kind):
        return row
    read: T = codec.decode(row, kind)
    return read


def _behind(delivery: Delivery) -> Parked:
    # Without an origin: the record of it must be the same in every run.
    return Parked(f"{delivery.route.component} has key {delivery.key!r} parked, and this waits behind")


def _said(error: Exception | None) -> tuple[str, str]:
    cause = error.cause if isinstance(error, Failed) else str(error)
    head, colon, _ = cause.partition(": ")
    kind = head if isinstance(error, Failed) and colon and head.isidentifier() else type(error).__name__
    return kind, mask(cause)


def _trace(ended: Ended) -> str:
    return "" if ended.call.trace is None else str(ended.call.trace.traceparent)
