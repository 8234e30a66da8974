"""Parquet files: what is written is read, and each fault is one error that names file, column and remedy."""

from datetime import date
from pathlib import Path

import duckdb
import numpy as np
import pytest

from examples.fraud.lab.dataset import DataRefused, Transactions, read, write
from examples.fraud.lab.generator import Population, simulate

FIRST, LAST = date(2018, 4, 1), date(2018, 4, 6)
SOUND = {
    "TRANSACTION_ID": "range",
    "TX_DATETIME": "TIMESTAMP '2018-04-01 12:00:00' + INTERVAL (range) SECOND",
    "CUSTOMER_ID": "range % 3",
    "TERMINAL_ID": "range % 5",
    "TX_AMOUNT": "range * 0.5",
    "TX_FRAUD": "range % 2",
}


def _made(file: Path, **changes: str | None) -> Path:
    """Write ten rows; a column is given by its SQL, and left out by None."""
    columns = {name: sql for name, sql in (SOUND | changes).items() if sql is not None}
    picks = ", ".join(f"{sql} AS {name}" for name, sql in columns.items())
    with duckdb.connect() as connection:
        connection.execute(f"COPY (SELECT {picks} FROM range(10)) TO '{file}' (FORMAT parquet)")
    return file


@pytest.fixture(scope="module")
def payments() -> Transactions:
    return simulate(Population(customers=100, terminals=200, days=6))


def _assert_equal(found: Transactions, expected: Transactions) -> None:
    for column in Transactions.__dataclass_fields__:
        assert getattr(found, column).dtype == getattr(expected, column).dtype, column
        assert np.array_equal(getattr(found, column), getattr(expected, column)), column


def test_what_is_written_is_read(tmp_path: Path, payments: Transactions) -> None:
    write(payments, tmp_path / "payments.parquet")
    _assert_equal(read(tmp_path / "payments.parquet", FIRST, LAST), payments)
    assert [file.name for file in tmp_path.iterdir()] == ["payments.parquet"]


def test_a_folder_is_read_as_one_and_in_order(tmp_path: Path, payments: Transactions) -> None:
    write(payments.between(date(2018, 4, 4), LAST), tmp_path / "a.parquet")
    write(payments.between(FIRST, date(2018, 4, 3)), tmp_path / "b.parquet")
    _assert_equal(read(tmp_path, FIRST, LAST), payments)


def test_only_the_named_days_are_read(tmp_path: Path, payments: Transactions) -> None:
    write(payments, tmp_path / "payments.parquet")
    days = date(2018, 4, 2), date(2018, 4, 3)
    found = read(tmp_path, *days)
    _assert_equal(found, payments.between(*days))
    assert [str(found.time[row].astype("datetime64[D]")) for row in (0, -1)] == [str(day) for day in days]


def test_the_scenario_may_be_absent(tmp_path: Path) -> None:
    found = read(_made(tmp_path / "payments.parquet"), FIRST, LAST)
    assert found.scenario.tolist() == [-1] * 10
    assert found.amount.tolist() == [row * 0.5 for row in range(10)]


@pytest.mark.parametrize(
    ("column", "sql"),
    [
        ("TX_DATETIME", "(TIMESTAMP '2018-04-01 12:00:00.75' + INTERVAL (range) SECOND)::TIMESTAMP_NS"),
        ("TX_DATETIME", "(TIMESTAMP '2018-04-01 12:00:00' + INTERVAL (range) SECOND)::TIMESTAMP_S"),
        ("TX_AMOUNT", "(range * 0.5)::DECIMAL(9, 2)"),
        ("TX_AMOUNT", "range * 0.5 + 1e-9"),
        ("TX_FRAUD", "range % 2 = 1"),
        ("CUSTOMER_ID", "(range % 3)::UTINYINT"),
    ],
)
def test_other_types_of_the_same_meaning_are_read_alike(tmp_path: Path, column: str, sql: str) -> None:
    expected = read(_made(tmp_path / "plain.parquet"), FIRST, LAST)
    _assert_equal(read(_made(tmp_path / "other.parquet", **{column: sql}), FIRST, LAST), expected)


@pytest.mark.parametrize(
    ("column", "sql", "remedy"),
    [
        ("TX_AMOUNT", None, "is missing; store it as a number"),
        ("TX_AMOUNT", "'12,50'", "has type VARCHAR; store it as a number"),
        ("TX_AMOUNT", "nullif(range, 3)", "is empty in 1 row"),
        ("TX_AMOUNT", "'nan'::DOUBLE", "is not a finite number in 10 row"),
        ("TX_DATETIME", "'2018-04-01'", "has type VARCHAR; store it as a timestamp"),
        ("TX_DATETIME", "now()", "has type TIMESTAMP WITH TIME ZONE; store it as a timestamp without"),
        ("CUSTOMER_ID", "'c' || range", "has type VARCHAR; store it as an integer"),
        ("TERMINAL_ID", "NULL::INTEGER", "is empty in 10 row"),
        ("TX_FRAUD", "range", "is neither 0 nor 1 in 8 row"),
    ],
)
def test_a_fault_names_all(tmp_path: Path, column: str, sql: str | None, remedy: str) -> None:
    file = _made(tmp_path / "payments.parquet", **{column: sql})
    with pytest.raises(DataRefused) as refused:
        read(file, FIRST, LAST)
    assert f"payments.parquet: column `{column}` {remedy}" in str(refused.value)


def test_all_faults_of_all_files_come_at_once(tmp_path: Path) -> None:
    _made(tmp_path / "a.parquet", TX_AMOUNT=None, CUSTOMER_ID="'c'")
    _made(tmp_path / "b.parquet", TX_FRAUD="'no'")
    (tmp_path / "c.parquet").write_text("no Parquet")
    with pytest.raises(DataRefused, match="4 fault") as refused:
        read(tmp_path, FIRST, LAST)
    assert "c.parquet: cannot be read as Parquet" in str(refused.value)


def test_no_file_and_no_such_day_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataRefused, match="No Parquet file at"):
        read(tmp_path, FIRST, LAST)
    file = _made(tmp_path / "payments.parquet")
    with pytest.raises(DataRefused, match="holds payments from 2018-04-01 to 2018-04-01"):
        read(file, date(2019, 1, 1), date(2019, 1, 2))
