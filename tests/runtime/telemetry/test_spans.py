"""Spans reach the store by themselves, stay bounded, and are read by another while the app runs."""

import asyncio
import sqlite3
import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from allotrope.compose import build, sinks
from allotrope.kernel.errors import Refused
from allotrope.runtime.host import Host
from allotrope.runtime.options import Input, Options
from allotrope.runtime.telemetry.sinks import Collector
from allotrope.runtime.telemetry.spans import FILE, Spans, SpanStore
from allotrope.runtime.tracing import Span, Tracer
from tests.cli import shop

AT = datetime(2026, 1, 1, tzinfo=UTC)


def span(number: int, trace: int = 1, **facts: object) -> Span:
    return Span(trace, number, 0, f"step {number}", number * 10, number * 10 + 5, **facts)  # type: ignore[arg-type]


async def test_a_host_stores_the_spans_of_a_chain_as_one_tree(tmp_path: Path) -> None:
    host = build(shop.app, "modular-monolith", tmp_path, Options(sinks=sinks(shop.app, tmp_path)))
    await host.start()
    await host.publish(shop.Ordered("o1", "ann", Decimal(3), AT), Input(request="r1"))
    await host.drain()
    spans = Spans.of(tmp_path)
    assert spans is not None
    (trace,) = spans.of_request("r1")
    assert spans.of_origin(1) == spans.begun_by(trace[:6]) == [trace]
    found = {span.name: span for span in spans.trace(trace)}
    assert set(found) == {"Ordered", "Till.price", "Rates.rate", "Rates.mood", "Till.print"}
    assert found["Ordered"].parent_id == 0
    assert found["Ordered"].request == "r1"
    assert found["Till.price"].parent_id == found["Ordered"].span_id
    assert found["Till.print"].parent_id == found["Till.price"].span_id == found["Rates.rate"].parent_id
    assert (found["Till.print"].origin, found["Till.print"].path) == (1, "/Till.price#000")
    spans.close()


async def test_the_caller_s_trace_is_continued(tmp_path: Path) -> None:
    host = build(shop.app, "modular-monolith", tmp_path, Options(sinks=sinks(shop.app, tmp_path)))
    await host.start()
    given = Input(traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    await host.publish(shop.Ordered("o1", "ann", Decimal(3), AT), given)
    await host.drain()
    spans = Spans.of(tmp_path)
    assert spans is not None
    first = spans.trace("0af7651916cd43dd8448eb211c80319c")[0]
    assert (first.name, first.parent_id) == ("Ordered", 0xB7AD6B7169203331)
    spans.close()


async def test_another_reads_while_the_app_runs(tmp_path: Path) -> None:
    stored = threading.Event()

    class Told(SpanStore):
        def keep(self, spans: Sequence[Span], dropped: int = 0) -> None:
            super().keep(spans, dropped)
            stored.set()

    host = build(shop.app, "monolith", tmp_path, Options(sinks=(Told(tmp_path),)))
    await host.start()
    await host.publish(shop.Ordered("o1", "ann", Decimal(3), AT))
    assert await asyncio.to_thread(stored.wait, 10)
    spans = Spans.of(tmp_path)
    assert spans is not None
    assert spans.kept()[:2] == (5, 1)
    spans.close()
    await host.close()


def test_the_newest_are_kept_and_the_aged_are_counted(tmp_path: Path) -> None:
    store = SpanStore(tmp_path, most=100)
    for first in range(1, 1001, 10):
        store.keep([span(number, trace=number) for number in range(first, first + 10)])
    kept = store.kept()
    assert 100 <= kept.spans <= 101
    assert kept.aged == 1000 - kept.spans
    assert store.newest(1) == [f"{1000:032x}"]
    store.close()
    again = SpanStore(tmp_path, most=100)
    again.keep([span(number) for number in range(1001, 1011)], dropped=7)
    assert again.kept().overflowed == 7
    assert again.kept().spans == 100
    again.close()


def test_room_is_made_for_what_several_processes_write(tmp_path: Path) -> None:
    stores = [SpanStore(tmp_path, most=100) for _ in range(3)]
    for first in range(1, 601, 10):
        stores[first // 10 % 3].keep([span(number) for number in range(first, first + 10)])
    kept = stores[0].kept()
    assert (kept.spans <= 101, kept.spans + kept.aged) == (True, 600)
    for store in stores:
        store.close()


def test_without_a_folder_spans_stay_in_memory() -> None:
    store = SpanStore(None)
    store.keep([span(1, origin=5, path="/a", request="r")])
    assert store.trace(f"{1:032x}") == [span(1, origin=5, path="/a", request="r")]
    store.close()


@pytest.mark.parametrize("harm", ["damaged", "other version"])
def test_what_cannot_be_used_is_begun_anew(
    tmp_path: Path, harm: str, caplog: pytest.LogCaptureFixture
) -> None:
    SpanStore(tmp_path).close()
    path = tmp_path / FILE
    if harm == "damaged":
        path.write_bytes(b"not a database at all" * 100)
    else:
        with sqlite3.connect(path) as connection:
            connection.execute("PRAGMA user_version=99")
        connection.close()
    with pytest.raises(Refused, match=r"traces\.db"):
        Spans.of(tmp_path)
    store = SpanStore(tmp_path)
    store.keep([span(1)])
    assert store.kept().spans == 1
    assert "begun anew" in caplog.text
    store.close()


class Broken:
    """A sink whose disk is full, for a while."""

    def __init__(self) -> None:
        self.full = True
        self.kept = 0

    def keep(self, spans: Sequence[Span], dropped: int) -> None:
        if self.full:
            raise OSError("no space left on device")
        self.kept += len(spans)

    def close(self) -> None:
        raise OSError("still no space")


async def test_a_sink_that_fails_stops_neither_the_app_nor_the_other_sinks(
    caplog: pytest.LogCaptureFixture,
) -> None:
    broken, good = Broken(), SpanStore(None)
    host: Host = build(shop.app, "monolith", None, Options(sinks=(broken, good)))
    assert host.collector is not None
    await host.start()
    for number in range(3):
        await host.publish(shop.Ordered(f"o{number}", "ann", Decimal(3), AT))
        await host.collector.collect()
    assert caplog.text.count("no space left") == 1  # said once, not for each batch
    assert good.kept().spans == 15
    broken.full = False
    await host.publish(shop.Ordered("o9", "ann", Decimal(3), AT))
    assert await host.drain()
    assert broken.kept == 5


async def test_what_the_ring_could_not_hold_is_counted() -> None:
    tracer, store = Tracer(ring=10), SpanStore(None)
    collector = Collector(tracer, (store,))
    for number in range(1, 16):
        tracer.end(span(number))
    await collector.collect()
    assert store.kept()[:3] == (10, 1, 5)
    await collector.close()
    await collector.close()  # a second time is no fault
