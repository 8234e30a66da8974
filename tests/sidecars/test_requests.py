"""The request log of real units: whole, rotated, masked; and whatever becomes of the sidecar, no call notices."""

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from time import perf_counter
from typing import Any

import pytest

from allotrope import compose
from allotrope.planning.documents import document_of
from allotrope.runtime.host import Host
from allotrope.sidecars.figures import figures_in
from tests.sidecars.shop import TOPOLOGY, Card, Order, Prices, Unknown, app

parquet = pytest.importorskip("pyarrow.parquet")


@asynccontextmanager
async def running(folder: Path, more: str = "") -> AsyncIterator[Host]:
    host = compose.build(app, document_of(TOPOLOGY + more, "shop.toml", compose.preset_text), folder)
    await host.start()
    try:
        yield host
    finally:
        await host.drain()


def rows(folder: Path) -> list[dict[str, Any]]:
    files = sorted((folder / "requests").glob("*/*.parquet"))
    return [row for file in files for row in parquet.read_table(file).to_pylist()]


async def until(true: Callable[[], Any], what: str) -> Any:
    for _ in range(400):
        if found := true():
            return found
        await asyncio.sleep(0.05)
    raise AssertionError(f"not within 20 s: {what}")


def sidecars(folder: Path) -> dict[int, str]:
    """Return the processes of sidecars that are at work in a folder, by the file that they write."""
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if b"allotrope.cli.workers.sidecar" in (path / "cmdline").read_bytes():
                files = [os.readlink(fd) for fd in (path / "fd").iterdir()]
                found |= {
                    int(path.name): file
                    for file in files
                    if file.startswith(str(folder)) and file.endswith(".arrow")
                }
        except OSError:  # it has ended
            continue
    return found


def told(folder: Path) -> subprocess.CompletedProcess[str]:
    """Return what `allotrope requests` says of a folder."""
    command = [sys.executable, "-m", "allotrope", "requests", "--folder", str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


linux = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


async def test_every_call_is_a_row(tmp_path: Path) -> None:
    async with running(tmp_path) as host:
        for number in range(20):
            await host.publish(Order(f"c{number % 3}", 2.0, datetime(2026, 1, 1)))
        await host.settled()
        assert await host.of(Prices).price("ann", 3.0) == 6.0
        with pytest.raises(Unknown):
            await host.of(Prices).price("nobody")
    found = rows(tmp_path)
    assert [row["operation"] for row in found] == ["Prices.price"] * 22
    assert [row["status"] for row in found] == ["ok"] * 21 + ["Unknown"]
    assert sorted(row["origin"] for row in found) == [0, 0, *range(1, 21)]
    assert {(row["unit"], row["replica"], row["arguments"]) for row in found} == {
        ("prices", "prices-1.1", None)
    }
    assert all(
        row["took_us"] >= 0 and row["asked_bytes"] > 20 and row["answered_bytes"] == 10 for row in found[:-1]
    )
    (figures,) = figures_in(tmp_path)
    assert (figures.calls, figures.dropped, figures.unread, figures.starts) == (22, 0, 0, 1)
    assert sum(titles["Prices.price"].count for titles in figures.minutes.values()) == 22


async def test_arguments_are_kept_where_asked_for_and_secrets_never(tmp_path: Path) -> None:
    async with running(tmp_path, "arguments = true\n") as host:
        await host.of(Prices).price("ann", 3.0, Card(number="12", secret_code="4711"))
        await host.of(Prices).price("tkn-123456", 5.0)
    first, second = (row["arguments"] for row in rows(tmp_path))
    assert first == '{"customer":"ann","size":3.0,"card":{"number":"12","secret_code":"***"}}'
    assert second == '{"customer":"***","size":5.0,"card":null}'
    (figures,) = figures_in(tmp_path)
    spreads = [minute["Prices.price"].fields["size"] for minute in figures.minutes.values()]
    assert (sum(s.count for s in spreads), max(s.most for s in spreads)) == (2, 5.0)


async def test_finished_files_are_readable_meanwhile_and_bounded_in_number(tmp_path: Path) -> None:
    async with running(tmp_path, "files = 2\n") as host:

        def finished() -> set[Path]:
            return set((tmp_path / "requests" / "prices").glob("*.parquet"))

        seen: set[Path] = set()
        for _ in range(4):
            await host.of(Prices).price("ann")
            new = await until(lambda seen=frozenset(seen): finished() - seen, "another finished file")
            assert all(parquet.read_table(path).num_rows >= 1 for path in new)
            seen |= new
        assert len(finished()) == 2


@linux
async def test_a_killed_sidecar_is_replaced_and_neither_calls_nor_rows_are_lost(
    tmp_path: Path, note: Callable[[str], None]
) -> None:
    async with running(tmp_path) as host:
        prices, asked, kills, times, ended = host.of(Prices), 0, 0, list[float](), asyncio.Event()

        async def ask() -> None:
            nonlocal asked
            while not ended.is_set():
                start = perf_counter()
                assert await prices.price("ann", 1.0) == 2.0
                asked += 1
                times.append(perf_counter() - start)

        asking = [asyncio.ensure_future(ask()) for _ in range(4)]
        known: set[int] = set()
        for _ in range(3):
            found = await until(lambda known=frozenset(known): sidecars(tmp_path).keys() - known, "a sidecar")
            before = asked
            for pid in found:
                os.kill(pid, signal.SIGKILL)
                kills += 1
            known |= found
            await until(lambda before=before: asked > before + 100, "calls go on")
        await until(lambda: sidecars(tmp_path).keys() - known, "another sidecar")
        ended.set()
        await asyncio.gather(*asking)
        assert kills >= 3
        times.sort()
        shown = ", ".join(f"{1000 * times[int(share * len(times))]:.1f}" for share in (0.5, 0.99, 0.999))
        note(f"sidecar killed {kills} times in {asked} calls: median, 99 % and 99.9 % in {shown} ms")
        assert times[-1] < 2.0  # a call that waited for a sidecar would not be over yet
    (figures,) = figures_in(tmp_path)
    found_rows = rows(tmp_path)
    positions = [row["position"] for row in found_rows]
    assert len(positions) == len(set(positions))
    assert len(positions) + figures.dropped == asked
    assert not sidecars(tmp_path)


@linux
async def test_a_stopped_sidecar_costs_entries_and_no_call(tmp_path: Path) -> None:
    async with running(tmp_path, "ring_kb = 16\n") as host:
        found = await until(lambda: sidecars(tmp_path), "a sidecar")
        for pid in found:
            os.kill(pid, signal.SIGSTOP)
        for _ in range(300):
            assert await host.of(Prices).price("ann", 1.0) == 2.0
        while True:  # the replica counts them once a second
            (away,) = (m for m in (await host.site.meters()).values() if "sidecar.requests" in m)
            if away["sidecar.requests"].errors.get("dropped", 0) > 100:
                break
            await asyncio.sleep(0.1)
        for pid in found:
            os.kill(pid, signal.SIGCONT)
        await until(lambda: rows(tmp_path), "rows")
    (figures,) = figures_in(tmp_path)
    assert figures.dropped > 100
    assert len(rows(tmp_path)) + figures.dropped == 300
    shown = await asyncio.to_thread(told, tmp_path)
    assert re.search(r"Prices\.price +\d+ +0 ", shown.stdout)
    assert f"{figures.dropped:,} calls are not in its log" in shown.stdout


@linux
async def test_it_ends_with_a_replica_that_is_killed_and_writes_the_rest(tmp_path: Path) -> None:
    async with running(tmp_path) as host:
        (pid,) = await until(lambda: sidecars(tmp_path), "a sidecar")
        for _ in range(50):
            await host.of(Prices).price("ann")
        parent = parent_of(pid)
        os.kill(pid, signal.SIGSTOP)
        os.kill(parent, signal.SIGKILL)
        await until(lambda: pid not in sidecars(tmp_path), "the sidecar goes")
        assert len(rows(tmp_path)) == 50


def test_no_verb_without_a_sidecar(tmp_path: Path) -> None:
    shown = told(tmp_path)
    assert shown.returncode == 2
    assert 'sidecars = ["requests"]' in shown.stderr
