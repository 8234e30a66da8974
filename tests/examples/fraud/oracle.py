"""The 15 features by SQL, straight from the payments: an independent witness for the views of the app.

It shares no code and no method with them: cumulative sums of the whole table, joined by time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import duckdb
import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from examples.fraud.lab.dataset import Transactions

DAY_S = 86_400
WINDOWS = (1, 7, 30)  # days
DELAY = 7  # days until a label is known


def features(transactions: Transactions) -> npt.NDArray[np.float64]:
    """Return the features per payment, shape (rows, 15), rows and columns in the order of the app.

    A customer's window is (t - w, t] and ends with the payment itself: in one second, a greater id is later.
    A terminal's is (t - 7 d - w, t - 7 d], by time alone: a label known at t precedes all payments at t.
    """
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("payments", _columns(transactions))
        rank = "row_number() OVER (PARTITION BY customer ORDER BY moment, id) AS rank"
        connection.execute(f"CREATE TABLE pay AS SELECT *, {rank} FROM payments")
        for entity, amount in (("customer", "cents"), ("terminal", "fraud")):
            connection.execute(_cumulation(entity, amount))
        found = connection.execute(_query()).fetchnumpy()
    return np.column_stack([found[name] for name in _names()]).astype(np.float64)


def _columns(transactions: Transactions) -> dict[str, npt.NDArray[np.int64]]:
    # Whole cents: integer sums are exact, so the oracle owes nothing to the order of its additions.
    return {
        "place": np.arange(len(transactions)),
        "id": transactions.id,
        "moment": transactions.time.astype("datetime64[s]").astype(np.int64),
        "customer": transactions.customer,
        "terminal": transactions.terminal,
        "cents": np.rint(transactions.amount * 100).astype(np.int64),
        "fraud": transactions.fraud.astype(np.int64),
    }


def _cumulation(entity: str, amount: str) -> str:
    """Return the SQL of what an entity had up to and with each of its seconds."""
    return f"""
        CREATE TABLE {entity}_sums AS
        SELECT entity, moment, sum(count) OVER upto AS count, sum(total) OVER upto AS total
        FROM (SELECT {entity} AS entity, moment, count(*) AS count, sum({amount}) AS total
              FROM pay GROUP BY ALL)
        WINDOW upto AS (PARTITION BY entity ORDER BY moment)"""


def _names() -> list[str]:
    windows = [f"{name}_{days}" for name in ("count", "mean", "visits", "risk") for days in WINDOWS]
    return ["amount", "weekend", "night", *windows]


def _query() -> str:
    """Return the SQL that subtracts two cumulative sums per window; a join finds one, as of t - n days."""
    joins = [_join("customer", days) for days in WINDOWS]
    joins += [_join("terminal", DELAY + days) for days in (0, *WINDOWS)]
    picks = [_pick(days) for days in WINDOWS]
    return f"""
        WITH own AS (
            SELECT *, sum(cents) OVER (PARTITION BY customer ORDER BY rank) AS spent FROM pay)
        SELECT own.cents / 100 AS amount,
               (isodow(make_timestamp(own.moment * 1000000)) >= 6)::INTEGER AS weekend,
               (hour(make_timestamp(own.moment * 1000000)) <= 6)::INTEGER AS night,
               {", ".join(picks)}
        FROM own {" ".join(joins)}
        ORDER BY own.place"""


def _join(entity: str, days: int) -> str:
    alias = f"{entity}_{days}"
    return f"""
        ASOF LEFT JOIN {entity}_sums AS {alias}
        ON own.{entity} = {alias}.entity AND own.moment - {days * DAY_S} >= {alias}.moment"""


def _pick(days: int) -> str:
    before, end, start = f"customer_{days}", f"terminal_{DELAY}", f"terminal_{DELAY + days}"
    count = f"(own.rank - coalesce({before}.count, 0))"
    visits = f"(coalesce({end}.count, 0) - coalesce({start}.count, 0))"
    frauds = f"(coalesce({end}.total, 0) - coalesce({start}.total, 0))"
    return f"""
        {count} AS count_{days},
        (own.spent - coalesce({before}.total, 0)) / 100 / {count} AS mean_{days},
        {visits} AS visits_{days},
        coalesce({frauds} / nullif({visits}, 0), 0) AS risk_{days}"""
