"""Segments: the end of a log, written behind an earlier backup, joined to the beginning that it belongs to."""

from itertools import islice
from pathlib import Path

import apsw

from allotrope.evidence.backups.cuts import rows
from allotrope.storage.files import look

_PAGES = 1000
_GROWING = ("entries", "requests")
_TABLES = "SELECT name,sql FROM sqlite_schema WHERE type='table'"
_LEFT = "DELETE FROM {} WHERE EXISTS(SELECT 1 FROM gaps WHERE position BETWEEN first AND last)"


def split(log: apsw.Connection, target: apsw.Connection, behind: int) -> None:
    """Copy what a log has behind a position, and all else that it knows, to an empty file."""
    target.execute("BEGIN")
    for name, sql in rows(log, _TABLES):
        target.execute(sql)
        where = f"WHERE position>{behind}" if name in _GROWING else ""
        _add(target, name, log.execute(f'SELECT * FROM "{name}" {where}'))
    target.execute(f"PRAGMA user_version={log.pragma('user_version')}; COMMIT")


def joined(log: Path, segment: Path) -> None:
    """Add a segment to the log that ends before it. What has left the log since leaves it here too."""
    target, source = look(log), look(segment, still=True)
    try:
        target.execute("BEGIN IMMEDIATE")
        known = {name for name, _ in target.execute(_TABLES)}
        for name, sql in rows(source, _TABLES):
            if name not in known:
                target.execute(sql)
            elif name not in _GROWING:
                target.execute(f'DELETE FROM "{name}"')
            _add(target, name, source.execute(f'SELECT * FROM "{name}"'))
        if "gaps" in {name for name, _ in target.execute(_TABLES)}:
            for name in _GROWING:
                target.execute(_LEFT.format(name))
        target.execute("COMMIT")
    finally:
        source.close()
        target.close()


def _add(target: apsw.Connection, name: str, cursor: apsw.Cursor) -> None:
    while some := list(islice(cursor, _PAGES)):
        marks = ",".join("?" * len(some[0]))
        target.executemany(f'INSERT OR REPLACE INTO "{name}" VALUES({marks})', some)
