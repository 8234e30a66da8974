"""Golden files are read by the app of today, and those that are missing or not read are named."""

from pathlib import Path
from typing import Any

import pytest

from allotrope import App, Event, component, on
from allotrope.planning.contracts.samples import goldens
from allotrope.testing.golden import golden_holds


def taking(kind: type[Event]) -> App:
    class Taker:
        async def take(self, event: Event) -> None:
            return None

    Taker.take.__annotations__["event"] = kind
    Taker.take = on(kind)(Taker.take)
    return App("shop", component(Taker))


def first() -> App:
    class Paid(Event, key="card"):
        card: str
        amount: float

    return taking(Paid)


def cents(fields: dict[str, Any]) -> dict[str, Any]:
    return {"card": fields["card"], "cents": round(fields["amount"] * 100)}


def second(upcasts: Any = (cents,)) -> App:
    class Paid(Event, key="card", version=2, upcasts=upcasts):
        card: str
        cents: int

    return taking(Paid)


def write(app: App, folder: Path) -> None:
    for name, golden in goldens(app).items():
        (folder / name).write_text(golden.text(), "utf-8")


def test_what_every_version_wrote_is_read(tmp_path: Path) -> None:
    write(first(), tmp_path)
    assert golden_holds(first(), tmp_path) == 1
    write(second(), tmp_path)
    assert golden_holds(second(), tmp_path) == 2


@pytest.mark.parametrize(
    ("app", "because"),
    [
        (second, r"Paid\.v2\.[0-9a-f]+\.json: is missing; write it with `allotrope contract golden`"),
        (
            lambda: second(upcasts=()),
            r"Paid\.v1\.[0-9a-f]+\.json: version 1 is not read any more: Paid .*upcast",
        ),
        (lambda: App("none"), r"Paid\.v1\.[0-9a-f]+\.json: the app has no Paid any more"),
    ],
)
def test_what_is_not_read_is_named(app: Any, because: str, tmp_path: Path) -> None:
    write(first(), tmp_path)
    with pytest.raises(AssertionError, match=because):
        golden_holds(app(), tmp_path)
