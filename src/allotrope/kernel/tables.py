"""Tables: the state a component owns. Nobody else can name it; writes commit with their operation."""

from collections.abc import AsyncIterator, Iterator
from typing import Any, Generic, Literal, Protocol, TypeVar

from allotrope.kernel import codec
from allotrope.kernel.calls import Effect, current
from allotrope.kernel.errors import Refused
from allotrope.kernel.exactness import check
from allotrope.kernel.messages import conform

T = TypeVar("T")
Durability = Literal["none", "process", "power"]  # survives nothing, kill -9, the loss of unsynced writes
_is_key = check((("v", str),))


class Rows(Protocol):
    """Committed rows: bytes, or in memory the values themselves."""

    def get(self, table: str, key: str) -> Any:
        """Return a committed row, or None."""

    def scan(self, table: str) -> Iterator[tuple[str, Any]]:
        """Yield the committed rows of a table in the order of their keys."""


class Table(Generic[T]):
    """Rows of one type by text key. `Table()` by hand is a dictionary; a runtime binds it to a ledger."""

    def __init__(
        self, owner: str = "", name: str = "", kind: Any = Any, rows: Rows | None = None, *, encoded: bool = True,
    ) -> None:  # fmt: skip
        self.owner, self.name, self.kind, self.encoded = owner, name, kind, encoded
        self._full, self._exact = f"{owner}.{name}", check((("v", kind),))
        self._asked = f"{self._full}.get"
        self._rows = rows
        self._memory: dict[str, T] = {}

    async def get(self, key: str) -> T | None:
        """Return the row, or None; an operation sees its own writes and otherwise committed ones."""
        row = self._row(key)
        if self._rows is None:
            return self._memory.get(key)
        effect = self._effect()
        if effect is None:
            return self._decoded(self._rows.get(self._full, key))
        if row in effect.writes:
            own: T | None = effect.writes[row]
            return own
        effect.reads.add(row)
        value = self._decoded(self._rows.get(self._full, key))
        effect.tape.append((self._asked, (key,), value))
        return value

    async def put(self, key: str, value: T) -> None:
        """Store a row when the operation commits. Refused outside a handler or command of its owner."""
        row = self._row(key)
        if self._rows is None:
            self._memory[key] = value
            return
        writes = self._written()
        writes[row] = value if self._exact(value) else conform(value, self.kind, f"{self._full}[{key!r}]")

    async def delete(self, key: str) -> None:
        """Remove a row when the operation commits; a missing one is no error."""
        if self._rows is None:
            self._memory.pop(key, None)
        else:
            self._written()[self._row(key)] = None

    async def items(self) -> AsyncIterator[tuple[str, T]]:
        """Yield all rows in the order of their keys, the operation's own writes included."""
        found: dict[str, Any] = self._memory
        if self._rows is not None:
            found = {key: self._decoded(stored) for key, stored in self._rows.scan(self._full)}
            if (effect := self._effect()) is not None:
                effect.reads.add((self._full, None))
                effect.tape.append((f"{self._full}.items", (), tuple(found.items())))
                found |= {key: value for (table, key), value in effect.writes.items() if table == self._full}
        for key in sorted(key for key, value in found.items() if value is not None):
            yield key, found[key]

    def _row(self, key: str) -> tuple[str, str]:
        if not _is_key(key):
            raise Refused(f"{self._full}: the key {key!r:.80} is not text; use str(...)")
        return self._full, key

    def _decoded(self, stored: Any) -> T | None:
        row: T | None = codec.decode(stored, self.kind) if self.encoded and stored is not None else stored
        return row

    def _effect(self) -> Effect | None:
        call = current.get()
        return call.effect if call is not None and call.component == self.owner else None

    def _written(self) -> dict[tuple[str, str], Any]:
        if (effect := self._effect()) is None:
            who = f"only a command or handler of {self.owner} may write it"
            raise Refused(f"{self._full}: {who}; publish an event")
        return effect.writes
