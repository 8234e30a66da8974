"""Migrations: rows that an earlier version of an app wrote, made today's before anything runs.

A row's own version and upcasts say how. What each table holds is kept in the ledger, so that a start looks at rows
only when their type has changed. Every row is read before the first one is written; a table is written as a whole.
"""

import typing
from collections.abc import Iterable
from typing import Any

import msgspec

from allotrope.kernel import codec
from allotrope.kernel.calls import LAST_ORIGIN
from allotrope.kernel.components import App
from allotrope.kernel.errors import Refused
from allotrope.planning.contracts.contract import row_hash
from allotrope.storage.ports import Commit, Ledger

TABLES = "/tables"  # no component can be called so
Write = tuple[str, str, bytes | None]


class Form(msgspec.Struct, frozen=True, array_like=True):
    """What the rows of a table are: the hash of their type, its version, and how often that has changed."""

    rows: str
    version: int
    number: int = 1


async def migrate(app: App, ledger: Ledger, home: Iterable[str] | None = None) -> int:
    """Bring every table up to the row types of an app; return how many rows were written anew.

    `home` names the components whose tables are in this ledger, without it all. Several processes may do it at once,
    and those of the version before may still run, as long as no row type has risen in its version.

    Raises Refused, with table, key and value, when a row cannot be read; then nothing was changed.
    """
    owners = frozenset(app.components if home is None else home)
    planned = [
        planned for title, kind in tables_of(app, owners) if (planned := _planned(ledger, title, kind))
    ]
    for commit in planned:
        await ledger.commit(commit)
    return sum(len(commit.writes) - 1 for commit in planned)


def tables_of(app: App, owners: frozenset[str]) -> list[tuple[str, Any]]:
    """Return the tables of some components of an app, with the types of their rows."""
    fields = [
        (name, field) for name, c in app.components.items() if name in owners for field in c.needs("table")
    ]
    return [(f"{owner}.{field.name}", typing.get_args(field.kind)[0]) for owner, field in fields]


def _planned(ledger: Ledger, title: str, kind: Any) -> Commit | None:
    stored = ledger.get(TABLES, title)
    known = Form("", 1, 0) if stored is None else codec.decode(stored, Form)
    now = Form(row_hash(kind), max(getattr(kind, "__version__", 0), 1), known.number + 1)
    if known.rows == now.rows:
        return None
    if known.version > now.version:
        text = f"{title}: its rows are of version {known.version}, this app knows {now.version}"
        raise Refused(f"{text}; start the app that wrote them, or a newer one")
    rows = [(title, key, _read(title, key, row, kind)) for key, row in ledger.scan(title)]
    writes: list[Write] = [*rows] if known.version < now.version else []
    writes.append((TABLES, title, codec.encode(now)))
    # The name is new each time: an app may go back, and forth again.
    return Commit(title, LAST_ORIGIN, f"/migration#{now.number}", tuple(writes))


def _read(title: str, key: str, row: bytes, kind: Any) -> bytes:
    try:
        return codec.encode(codec.decode(row, kind))
    except (msgspec.ValidationError, Refused) as error:
        text = f"{title}[{key!r}] cannot be read as {getattr(kind, '__name__', kind)}: {error}"
        remedy = "give new fields a default, or raise the version of the row type and add an upcast"
        raise Refused(
            f"{text}; the row is {codec.decode(row)!r:.120}; {remedy}. Nothing was changed"
        ) from None
