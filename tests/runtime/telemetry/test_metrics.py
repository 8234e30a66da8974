"""Prometheus gets counters and gauges, from the loopback address only."""

import asyncio
import socket
import urllib.request
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from allotrope.compose import build
from allotrope.compose.figures import gauges
from allotrope.kernel.errors import Refused
from allotrope.runtime.options import Options
from allotrope.runtime.telemetry.metrics import serve
from tests.cli import shop


def scraped(address: str) -> dict[tuple[str, ...], float]:
    with urllib.request.urlopen(address, timeout=10) as answer:
        text = answer.read().decode()
    return {
        (sample.name, *(sample.labels[name] for name in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_a_scrape_shows_what_was_done() -> None:
    host = build(shop.app, "monolith")
    await host.start()
    for number, amount in enumerate((3, 4, 13)):
        order = shop.Ordered(f"o{number}", "ann", Decimal(amount), datetime(2026, 1, 1, tzinfo=UTC))
        await host.publish(order)
    door = serve(0, host.services.meters, gauges(host))
    await asyncio.sleep(0)  # the parked keys are looked for
    found = scraped(door.address)
    assert found["allotrope_dead_letters", "Till", "ValueError"] == 1
    assert found["allotrope_parked_keys", "Till"] == 1
    assert 0 < found["allotrope_parked_seconds", "Till"] < 60
    assert door.address.startswith("http://127.0.0.1:")
    assert found["allotrope_calls_total", "Till.print"] == 2
    assert found["allotrope_calls_total", "Till.price"] == 2 + 3
    assert found["allotrope_errors_total", "ValueError", "Till.price"] == 3
    assert found["allotrope_seconds_count", "Till.print"] == 2
    assert found["allotrope_seconds_bucket", "+Inf", "Till.print"] == 2
    assert found["allotrope_parked",] == 1
    assert found["allotrope_floor_origin",] == 4
    assert found["allotrope_flows",] == found["allotrope_stopped",] == found["allotrope_spans_dropped",] == 0
    assert found["process_cpu_seconds_total",] > 0
    door.close()
    await host.close()
    with pytest.raises(OSError, match="refused"):
        scraped(door.address)


async def test_a_call_to_another_unit_counts_where_it_ran_and_in_a_family_of_its_own_for_who_asked(
    tmp_path: Path,
) -> None:
    host = build(shop.app, "microservices", tmp_path, Options(ticks=False))
    await host.start()
    await host.publish(shop.Ordered("o1", "ann", Decimal(3), datetime(2026, 1, 1, tzinfo=UTC)))
    await host.settled(deadline_s=20)
    assert await host.of(shop.Till).all() == ("o1",)
    elsewhere = await host.site.meters()
    door = serve(0, host.services.meters, gauges(host), lambda: elsewhere)
    found = scraped(door.address)
    door.close()
    await host.close()
    counted = sorted(
        (*labels[:2], labels[-1], value) for labels, value in found.items() if "calls" in labels[0]
    )
    assert counted == [
        ("allotrope_calls_total", "Rates.mood", "Rates", 1),
        ("allotrope_calls_total", "Rates.rate", "Rates", 1),
        ("allotrope_calls_total", "Till.all", "Till", 1),
        ("allotrope_calls_total", "Till.price", "Till", 1),
        ("allotrope_calls_total", "Till.print", "Till", 1),
        ("allotrope_far_calls_total", "Rates.mood", "Till", 1),
        ("allotrope_far_calls_total", "Rates.rate", "Till", 1),
        ("allotrope_far_calls_total", "Till.all", "host", 1),
    ]


async def test_a_port_that_is_taken_is_refused() -> None:
    host = build(shop.app, "monolith")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(Refused, match=rf"--metrics {port}: Address already in use; choose another port"):
            serve(port, host.services.meters, gauges(host))
    await host.close()
