"""GPUs: found, counted before anything starts, lent to replicas, hidden from all others."""

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from allotrope.cli.fleet.roll import roll
from allotrope.engines.devices import Devices, devices, shortages
from allotrope.kernel.errors import Overloaded, PlanRefused
from allotrope.planning.topology import Unit
from tests.engines.processes.kiosk import Books, Desk, Prices
from tests.engines.processes.shift import SPLIT, shift

ONE, OTHER = "GPU-11111111-aaaa", "GPU-22222222-bbbb"
LISTED = f"GPU 0: NVIDIA H200 (UUID: {ONE})\nGPU 1: NVIDIA H200 (UUID: {OTHER})\n"
SLICES = "  MIG 1g.18gb     Device  0: (UUID: MIG-3c)\n  MIG 1g.18gb     Device  1: (UUID: MIG-4d)\n"
TOLD = "Model: \t\t NVIDIA H200\nIRQ:   \t\t 12\nGPU UUID: \t {}\nVideo BIOS: \t 96\n"


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine whose `nvidia-smi` says what is in a file."""
    script, said = tmp_path / "bin" / "nvidia-smi", tmp_path / "said"
    script.parent.mkdir()
    script.write_text(f"#!/bin/sh\nexec cat {said}\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(script.parent), prepend=":")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    said.write_text(LISTED)
    return said


def test_the_tool_of_the_driver_lists_them(tool: Path) -> None:
    assert devices() == (ONE, OTHER)
    tool.write_text(LISTED.replace("\n", f"\n{SLICES}", 1))
    assert devices() == ("MIG-3c", "MIG-4d", OTHER)  # the slices of one that is cut


def test_without_the_tool_the_driver_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for place, name in (("0000:01:00.0", ONE), ("0000:02:00.0", OTHER)):
        (tmp_path / place).mkdir()
        (tmp_path / place / "information").write_text(TOLD.format(name))
    assert devices(tmp_path, {}) == (ONE, OTHER)
    assert devices(tmp_path / "nothing", {}) == ()


@pytest.mark.parametrize(
    ("named", "found"),
    [("", ()), ("1", (OTHER,)), (f"{OTHER},0", (OTHER, ONE)), ("7,nonsense", ()), ("1,1", (OTHER,))],
)
def test_what_was_hidden_from_us_is_not_lent(tool: Path, named: str, found: tuple[str, ...]) -> None:
    assert devices(environment={"CUDA_VISIBLE_DEVICES": named}) == found


@pytest.mark.parametrize(
    ("wants", "needed"),
    [
        ([(1.0, 2)], 2),
        ([(0.5, 2)], 1),
        ([(0.5, 3)], 2),
        ([(1 / 3, 3)], 1),
        ([(2.0, 1), (0.25, 4)], 3),
        ([(0.6, 2)], 2),
        ([(0.7, 1), (0.3, 1), (0.5, 1)], 2),
    ],
)
def test_a_shortage_is_told(wants: list[tuple[float, int]], needed: int) -> None:
    units = {
        f"u{number}": Unit(("A",), gpu=gpu, replicas=(count, count))
        for number, (gpu, count) in enumerate(wants)
    }
    assert list(shortages(units, needed)) == []
    (said,) = shortages(units, needed - 1)
    assert said.startswith(f"the units want {needed} GPUs (`u0` {wants[0][1]} x {wants[0][0]:g}")


@given(some.lists(some.sampled_from([0.25, 0.3, 0.5, 1.0, 2.0, -1.0]), max_size=40), some.integers(0, 4))
def test_nothing_is_lent_twice(wishes: list[float], there: int) -> None:
    held: list[tuple[tuple[str, ...], float]] = []
    stock = Devices(f"GPU-{number}" for number in range(there))
    for wish in wishes:
        if wish < 0:
            if held:
                stock.give(*held.pop(0))
            continue
        try:
            held.append((stock.take(wish), wish))
        except Overloaded:
            assert not stock.fits(wish)
        for name in stock.free:
            parts = [gpu for names, gpu in held if name in names]
            assert sum(min(part, 1.0) for part in parts) <= 1.0 + 1e-6
            assert len(parts) == 1 or not any(part >= 1 for part in parts)
    for names, gpu in held:
        stock.give(names, gpu)
    assert all(free == pytest.approx(1.0) for free in stock.free.values())


GPUS = f"""{SPLIT.replace("[2, 2]", "[1, 1]")}
[unit.Prices]
components = ["Prices"]
gpu = 1.0
[unit.Desk]
components = ["Desk"]
gpu = 0.5
replicas = [2, 2]
"""


async def test_each_replica_sees_its_own_and_no_other(tool: Path, tmp_path: Path) -> None:
    async with shift(tmp_path, GPUS) as it:
        await it.until(lambda there: len(there) == 5)
        whole, pid = await it.host.of(Prices).sees()
        seen = {await it.host.of(Desk).sees() for _ in range(8)}
        assert len(seen) == 2  # replicas
        assert {whole, *(names for names, _ in seen)} == {ONE, OTHER}
        assert (await it.host.of(Books).sees())[0] == ""
        await asyncio.to_thread(roll, "Prices", folder=it.folder)  # there is no second one to spare
        again, other = await it.host.of(Prices).sees()
        assert (again, other != pid) == (whole, True)


async def test_too_few_are_refused_before_anything_starts(
    tool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    with pytest.raises(PlanRefused, match=r"want 2 GPUs .* this machine has 1 GPU to give"):
        async with shift(tmp_path, GPUS):
            pass
