"""Contracts: what every implementation of a port must do, case by case, for those who write one of their own.

    from allotrope.logs.sqlite import SqliteLog
    from allotrope.testing.contracts import contract_holds
    from allotrope.testing.logs import LOG

    contract_holds(LOG, lambda folder: SqliteLog(folder, "process", 4))

With pytest, each case is a test: `@pytest.mark.parametrize("case", tuple(LOG), ids=str)`, and in it
`case.run(make)`. Call `pytest.register_assert_rewrite("allotrope.testing")` in `conftest.py` to see the
values that a case compared. Not here: the cases; `logs` and `ledgers` hold them.
"""

import asyncio
import contextlib
import inspect
import tempfile
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

from allotrope.kernel.errors import Refused

Make = Callable[[Path], Any]  # an implementation that keeps its files in a folder


class Opened:
    """An implementation that is open; `durable` says whether it keeps anything."""

    def __init__(self, make: Callable[[], Any], *, durable: bool) -> None:
        self.make, self.durable = make, durable
        self.now = make()

    async def __aenter__(self) -> "Opened":
        await _told(self.now, "open")
        return self

    async def __aexit__(self, *_: object) -> None:
        await _told(self.now, "close")

    async def again(self) -> Any:
        """Return it, closed and opened again."""
        await _told(self.now, "close")
        self.now = self.make()
        await _told(self.now, "open")
        return self.now


async def _told(what: Any, verb: str) -> None:
    """Open or close it; a ledger is open once it is made, and closes at once."""
    if (act := getattr(what, verb, None)) is not None and inspect.isawaitable(done := act()):
        await done


Body = Callable[[Opened], Coroutine[None, None, None]]


class Case:
    """One thing that an implementation must do."""

    def __init__(self, body: Body) -> None:
        self.body = body

    def __str__(self) -> str:
        """Return it as a sentence."""
        return self.body.__name__.strip("_")

    def run(self, make: Make, *, durable: bool = True) -> None:
        """Try a fresh implementation in a fresh folder; AssertionError when it does something else."""
        with tempfile.TemporaryDirectory(prefix="allotrope-contract-") as folder:
            asyncio.run(self._tried(Opened(lambda: make(Path(folder)), durable=durable)))

    async def _tried(self, place: Opened) -> None:
        async with place:
            await self.body(place)


class Contract:
    """The cases of one port, in the order in which they are written."""

    def __init__(self, port: str) -> None:
        self.port = port
        self._cases: list[Case] = []

    def case(self, body: Body) -> Body:
        """Add a case."""
        self._cases.append(Case(body))
        return body

    def __iter__(self) -> Iterator[Case]:
        return iter(self._cases)

    def __len__(self) -> int:
        return len(self._cases)


def contract_holds(contract: Contract, make: Make, *, durable: bool = True) -> int:
    """Return how many cases were tried; the first that does not hold raises AssertionError with its name.

    `durable` is False for what keeps nothing: then nothing has to be there again.
    """
    for case in contract:
        try:
            case.run(make, durable=durable)
        except Exception as error:
            error.add_note(f"the {contract.port} does not hold: {case}")
            raise
    return len(contract)


@contextlib.contextmanager
def refused(because: str) -> Iterator[None]:
    """Expect Refused with a message that holds `because`."""
    said = None
    try:
        yield
    except Refused as error:
        said = str(error)
    assert said is not None, f"not refused, although it is {because}"
    assert because in said, f"refused, but not because it is {because}: {said}"
