"""Card payments as columns, and their Parquet files. It judges types and gaps; the rules are for intake."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import duckdb

_INTEGERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT")
_MOMENTS = ("TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS")
_NUMBERS = (*_INTEGERS, "FLOAT", "DOUBLE", "DECIMAL")

# Column of the file -> (types it may have, what to do about another one).
_COLUMNS: dict[str, tuple[tuple[str, ...], str]] = {
    "TRANSACTION_ID": (_INTEGERS, "store it as an integer"),
    "TX_DATETIME": (_MOMENTS, "store it as a timestamp without time zone, in UTC"),
    "CUSTOMER_ID": (_INTEGERS, "store it as an integer"),
    "TERMINAL_ID": (_INTEGERS, "store it as an integer"),
    "TX_AMOUNT": (_NUMBERS, "store it as a number"),
    "TX_FRAUD": ((*_INTEGERS, "BOOLEAN"), "store it as 0 and 1, or as a boolean"),
    "TX_FRAUD_SCENARIO": (_INTEGERS, "store it as an integer, or leave the column out"),
}
_OPTIONAL = "TX_FRAUD_SCENARIO"


class DataRefused(ValueError):
    """A data set cannot be read; the message names file, column and remedy, all faults of the set at once."""


@dataclass(frozen=True, slots=True)
class Transactions:
    """Card payments, one array per column, each of shape (rows,), sorted by (time, id).

    `amount` is in euros, rounded to cents. `scenario` says how a fraud was made: 0 none, 1 a large amount,
    2 a compromised terminal, 3 a stolen card, -1 not known. It leaks the label: never a feature.
    """

    id: npt.NDArray[np.int64]
    time: npt.NDArray[np.datetime64]
    customer: npt.NDArray[np.int64]
    terminal: npt.NDArray[np.int64]
    amount: npt.NDArray[np.float64]
    fraud: npt.NDArray[np.bool_]
    scenario: npt.NDArray[np.int8]

    def __len__(self) -> int:
        return len(self.id)

    def take(self, rows: npt.NDArray[np.intp] | npt.NDArray[np.bool_] | slice) -> Transactions:
        """Return the chosen rows, in the order in which they are named."""
        return Transactions(*(getattr(self, field.name)[rows] for field in fields(self)))

    def between(self, first: date, last: date) -> Transactions:
        """Return the rows of the days `first` to `last`, both included."""
        start, end = np.searchsorted(self.time, np.array([first, last + timedelta(days=1)], "datetime64[s]"))
        return self.take(slice(int(start), int(end)))


def read(folder: Path, first: date, last: date) -> Transactions:
    """Return the payments of the days `first` to `last`, both included; `folder` may be one Parquet file.

    Raises DataRefused when there is no file or no such day, or a column is missing, has gaps or a wrong type.
    """
    import duckdb  # 50 ms of import that serving never needs

    with duckdb.connect() as connection:
        files = _examined(connection, folder)
        columns = connection.execute(_selection(connection, files), [_texts(files), first, last]).fetchnumpy()
        if len(columns["id"]) == 0:
            raise DataRefused(_absent(connection, files, first, last))
    return Transactions(
        id=columns["id"].astype(np.int64),
        time=columns["time"].astype("datetime64[s]"),
        customer=columns["customer"].astype(np.int64),
        terminal=columns["terminal"].astype(np.int64),
        amount=columns["amount"].astype(np.float64),
        fraud=columns["fraud"].astype(np.bool_),
        scenario=columns["scenario"].astype(np.int8),
    )


def span(folder: Path) -> tuple[date, date]:
    """Return the first and the last day of the payments in `folder`. Raises DataRefused as `read` does."""
    import duckdb

    with duckdb.connect() as connection:
        files = _examined(connection, folder)
        first, last = _span(connection, files)
    if first is None or last is None:
        raise DataRefused(f"The data at {folder} holds no payment at all.")
    return first, last


def write(transactions: Transactions, file: Path) -> None:
    """Write the payments to one Parquet file, as `read` expects them; it appears whole or not at all."""
    import duckdb

    columns = {
        "TRANSACTION_ID": transactions.id,
        "TX_DATETIME": transactions.time.astype("datetime64[us]"),
        "CUSTOMER_ID": transactions.customer,
        "TERMINAL_ID": transactions.terminal,
        "TX_AMOUNT": transactions.amount,
        "TX_FRAUD": transactions.fraud.astype(np.int8),
        "TX_FRAUD_SCENARIO": transactions.scenario,
    }
    partial = file.with_name(f".{file.name}.partial")
    with duckdb.connect() as connection:
        connection.register("payments", columns)
        quoted = str(partial).replace("'", "''")
        connection.execute(f"COPY (SELECT * FROM payments) TO '{quoted}' (FORMAT parquet, COMPRESSION zstd)")
    partial.replace(file)


def _files(folder: Path) -> list[Path]:
    files = sorted(folder.glob("*.parquet")) if folder.is_dir() else [folder]
    if not files or not files[0].is_file():
        raise DataRefused(f"No Parquet file at {folder}. Name a .parquet file, or a folder that holds one.")
    return files


def _examined(connection: duckdb.DuckDBPyConnection, folder: Path) -> list[Path]:
    """Return the files of a data set. Raises DataRefused with all their faults."""
    files = _files(folder)
    faults = [fault for file in files for fault in _faults(connection, file)]
    if faults:
        raise DataRefused("\n".join([f"{len(faults)} fault(s) in the data at {folder}:", *faults]))
    return files


def _texts(files: list[Path]) -> list[str]:
    return [str(file) for file in files]


def _faults(connection: duckdb.DuckDBPyConnection, file: Path) -> list[str]:
    """Return one line per fault of one file: its shape first, and only where that is sound, its gaps."""
    import duckdb

    try:
        rows = connection.execute("DESCRIBE SELECT * FROM read_parquet(?)", [str(file)]).fetchall()
    except duckdb.Error as error:
        reason = str(error).splitlines()[0]
        return [f"  {file.name}: cannot be read as Parquet ({reason}). Write it again as Parquet."]
    types = {str(name): str(kind) for name, kind, *_ in rows}
    shape = [fault for column in _COLUMNS if (fault := _misfit(column, types))]
    return [f"  {file.name}: {fault}" for fault in shape or _gaps(connection, file)]


def _misfit(column: str, types: dict[str, str]) -> str:
    """Return what is wrong with a column's presence or type, or an empty text."""
    accepted, remedy = _COLUMNS[column]
    kind = types.get(column)
    if kind is None:
        missing = f"column `{column}` is missing; {remedy}. The file has: {', '.join(types)}."
        return "" if column == _OPTIONAL else missing
    return "" if kind.split("(")[0] in accepted else f"column `{column}` has type {kind}; {remedy}."


def _gaps(connection: duckdb.DuckDBPyConnection, file: Path) -> list[str]:
    """Return what is wrong with the values of a file whose columns are sound."""
    needed = [column for column in _COLUMNS if column != _OPTIONAL]
    counts = [f"count(*) FILTER ({column} IS NULL)" for column in needed]
    counts.append("count(*) FILTER (NOT isfinite(TX_AMOUNT::DOUBLE))")
    counts.append("count(*) FILTER (TX_FRAUD::INTEGER NOT IN (0, 1))")
    query = f"SELECT {', '.join(counts)} FROM read_parquet(?)"
    found = connection.execute(query, [str(file)]).fetchone() or ()
    kinds = [(column, "empty") for column in needed]
    kinds += [("TX_AMOUNT", "not a finite number"), ("TX_FRAUD", "neither 0 nor 1")]
    return [
        f"column `{column}` is {kind} in {count} row(s); fill or remove these rows."
        for (column, kind), count in zip(kinds, found, strict=True)
        if count
    ]


def _selection(connection: duckdb.DuckDBPyConnection, files: list[Path]) -> str:
    query = "DESCRIBE SELECT * FROM read_parquet(?, union_by_name = true)"
    names = [row[0] for row in connection.execute(query, [_texts(files)]).fetchall()]
    scenario = f"coalesce({_OPTIONAL}, -1)" if _OPTIONAL in names else "-1"
    return f"""
        SELECT TRANSACTION_ID AS id, date_trunc('second', TX_DATETIME) AS time, CUSTOMER_ID AS customer,
               TERMINAL_ID AS terminal, round(TX_AMOUNT::DOUBLE, 2) AS amount, TX_FRAUD::BOOLEAN AS fraud,
               {scenario} AS scenario
        FROM read_parquet(?, union_by_name = true)
        WHERE TX_DATETIME >= ?::DATE AND TX_DATETIME < ?::DATE + INTERVAL 1 DAY
        ORDER BY time, id"""


def _span(connection: duckdb.DuckDBPyConnection, files: list[Path]) -> tuple[date, date] | tuple[None, None]:
    query = "SELECT min(TX_DATETIME)::DATE, max(TX_DATETIME)::DATE FROM read_parquet(?, union_by_name = true)"
    return connection.execute(query, [_texts(files)]).fetchone() or (None, None)


def _absent(connection: duckdb.DuckDBPyConnection, files: list[Path], first: date, last: date) -> str:
    start, end = _span(connection, files)
    held = "no payment at all" if start is None else f"payments from {start} to {end}"
    asked = f"{files[0].name}: column `TX_DATETIME` has no day from {first} to {last}."
    return f"{asked} The data holds {held}; name days in it."
