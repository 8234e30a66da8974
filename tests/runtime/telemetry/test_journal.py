"""Each log line says which call it belongs to, as JSON or as text, and never a secret."""

import io
import json
import logging
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from allotrope.compose import build, document
from allotrope.evidence.archive.history import History
from allotrope.kernel import codec
from allotrope.runtime.options import Input
from allotrope.runtime.telemetry.journal import Style, configure
from allotrope.runtime.telemetry.secrets import Mask, is_secret, mask, secrets_in
from tests.cli import shop

Logged = Callable[[Style], io.StringIO]


@pytest.fixture
def logged() -> Iterator[Logged]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level

    def begin(style: Style) -> io.StringIO:
        stream = io.StringIO()
        configure(style, "info", stream)
        return stream

    yield begin
    root.handlers[:] = handlers
    root.setLevel(level)


async def sell(amount: int) -> None:
    host = build(shop.app, "monolith")
    await host.start()
    order = shop.Ordered("o1", "ann", Decimal(amount), datetime(2026, 1, 1, tzinfo=UTC))
    await host.publish(order, Input(request="r1", tenant="north"))
    await host.close()


async def test_a_line_names_its_call(logged: Logged) -> None:
    stream = logged("json")
    await sell(3)
    (line,) = map(json.loads, stream.getvalue().splitlines())
    assert line["message"] == "pricing o1 with ***"
    wanted = {"level": "info", "logger": "shop", "component": "Till", "operation": "price", "origin": 1}
    assert wanted.items() <= line.items()
    assert (line["request"], line["tenant"]) == ("r1", "north")
    assert (len(line["trace_id"]), len(line["span_id"])) == (32, 16)
    assert datetime.fromisoformat(line["time"]).tzinfo is UTC


async def test_a_parked_event_is_logged_with_its_call_and_without_the_secret(logged: Logged) -> None:
    stream = logged("json")
    await sell(13)
    *_, line = map(json.loads, stream.getvalue().splitlines())
    assert line["message"].startswith("parked 1 at Till.price: ")
    assert (line["level"], line["component"], line["origin"]) == ("error", "Till", 1)
    assert "hush-hush" not in stream.getvalue()


async def test_text_is_one_line_for_people(logged: Logged) -> None:
    stream = logged("text")
    await sell(3)
    assert "info    shop  pricing o1 with ***  [Till.price, event 1, request r1, trace " in stream.getvalue()


@pytest.mark.parametrize("style", ["text", "json"])
def test_outside_a_call_a_line_stands_for_itself(logged: Logged, style: Style) -> None:
    stream = logged(style)
    try:
        raise ValueError("with hush-hush-42")
    except ValueError:
        build(shop.app, "monolith")
        logging.getLogger("x").exception("it failed: %s", "hush-hush-42")
    text = stream.getvalue()
    assert "it failed: ***" in text
    assert "ValueError: with ***" in text
    assert "component" not in text
    assert "hush-hush" not in text


async def test_the_record_of_a_decision_holds_no_secret(tmp_path: Path) -> None:
    host = build(shop.app, "modular-monolith", tmp_path)
    await host.start()
    await host.publish(shop.Ordered("o1", "ann", Decimal(13), datetime(2026, 1, 1, tzinfo=UTC)))
    await host.drain()
    history = History(tmp_path)
    (record,) = history.records(1)
    assert "thirteen, says ***" in record.error
    assert b"hush-hush" not in codec.encode(record)
    history.close()


def test_a_topology_s_secrets_are_masked_once_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text('base = "monolith"\n[setting]\n"Till.token" = "from-the-file"\n')
    document(str(path))
    assert mask("it is from-the-file") == "it is ***"


NESTED = {
    "setting": {"Models.api_key": "abcde", "Till": {"password": "fghij", "limit": 3}},
    "unit": {"all": {"environment": {"DB_PASSWORD": "klmno", "HOME": "/home"}}},
    "tokens": ["p1", "p2"],
}


def test_secrets_are_found_by_the_name_they_stand_under() -> None:
    assert secrets_in(NESTED) == {"abcde", "fghij", "klmno", "p1", "p2"}
    assert is_secret("Till.client_secret")
    assert not is_secret("Keyboard.layout")  # the component's name does not count


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("abcdefg and abcde", "*** and ***"),  # the longer one first
        ("on one", "*** one"),  # a short one only where it stands alone
        ("Failed: x='on'", "Failed: x='***'"),
        ("nothing here", "nothing here"),
    ],
)
def test_masking(text: str, masked: str) -> None:
    own = Mask()
    assert own(text) == text
    own.learn(["abcde", "abcdefg", "on", ""])
    assert own(text) == masked
