"""Tables: the state a component owns. Nobody else can name it; writes commit with the operation that made them."""

from collections.abc import AsyncIterator, Iterator
from typing import Any, Generic, Protocol, TypeVar

from allotrope.kernel import codec
from allotrope.kernel.calls import current
from allotrope.kernel.errors import Refused
from allotrope.kernel.messages import conform

T = TypeVar("T")


class Rows(Protocol):
    """Committed rows: bytes, or in memory the values themselves."""

    def get(self, table: str, key: str) -> Any:
        """Return a committed row, or None."""

    def scan(self, table: str) -> Iterator[tuple[str, Any]]:
        """Yield the committed rows of a table in the order of their keys."""


class Table(Generic[T]):
    """Rows of one type by text key. `Table()` by hand is a dictionary; a runtime binds it to a ledger."""

    def __init__(
        self, owner: str = "", name: str = "", kind: Any = Any, rows: Rows | None = None, encoded: bool = True
    ) -> None:
        """Make an unbound table in memory, or one bound to the committed `rows` of a ledger."""
        self.owner, self.name, self.kind, self.encoded = owner, name, kind, encoded
        self._full = f"{owner}.{name}"
        self._rows = rows
        self._memory: dict[str, T] = {}

    async def get(self, key: str) -> T | None:
        """Return the row, or None; an operation sees its own writes and otherwise committed ones."""
        if self._rows is None:
            return self._memory.get(key)
        call = current.get()
        effect = call.effect if call is not None and call.component == self.owner else None
        if effect is None:
            return self._decoded(self._rows.get(self._full, key))
        row = (self._full, key)
        if row in effect.writes:
            own: T | None = effect.writes[row]
            return own
        effect.reads.add(row)
        stored = self._rows.get(self._full, key)
        value = self._decoded(stored)
        effect.tape.append((f"{self._full}.get", (key,), value))
        return value

    async def put(self, key: str, value: T) -> None:
        """Store a row when the operation commits. Refused outside a handler or command of its owner."""
        if self._rows is None:
            self._memory[key] = value
        else:
            self._written()[(self._full, key)] = conform(value, self.kind, f"{self._full}[{key!r}]")

    async def delete(self, key: str) -> None:
        """Remove a row when the operation commits; a missing one is no error."""
        if self._rows is None:
            self._memory.pop(key, None)
        else:
            self._written()[(self._full, key)] = None

    async def items(self) -> AsyncIterator[tuple[str, T]]:
        """Yield all rows in the order of their keys, the operation's own writes included."""
        for key, value in self._all():
            yield key, value

    def _all(self) -> list[tuple[str, T]]:
        if self._rows is None:
            return sorted(self._memory.items())
        rows: dict[str, Any] = dict(self._rows.scan(self._full))
        call = current.get()
        effect = call.effect if call is not None and call.component == self.owner else None
        if effect is not None:
            effect.scanned.add(self._full)
        found = {key: self._decoded(stored) for key, stored in rows.items()}
        if effect is not None:
            effect.tape.append((f"{self._full}.items", (), tuple(found.items())))
        for (table, key), value in effect.writes.items() if effect else ():
            if table == self._full:
                found[key] = value
        return sorted((key, value) for key, value in found.items() if value is not None)

    def _decoded(self, stored: Any) -> T | None:
        return codec.decode(stored, self.kind) if self.encoded and stored is not None else stored

    def _written(self) -> dict[tuple[str, str], Any]:
        call = current.get()
        if call is None or call.effect is None or call.component != self.owner:
            raise Refused(f"{self._full}: only a command or handler of {self.owner} may write it; publish an event")
        return call.effect.writes
