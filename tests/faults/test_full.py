"""A disk that is full while a host runs: new inputs are refused, accepted ones take effect once there is room."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LIFE = """
import asyncio, sys
from pathlib import Path
from allotrope.testing import faults
disk = faults.lossy()
from allotrope import App, Event, Refused, Table, component, on
from allotrope.compose import build

class Order(Event, key="id"):
    id: str
    note: str

@component
class Desk:
    rows: Table[str]

    @on(Order)
    async def take(self, order: Order) -> None:
        await self.rows.put(order.id, order.note)
        if order.id == "fills":
            disk.room = 0

async def main():
    host = build(App("desk", Desk), "modular-monolith", Path(sys.argv[1]))
    await host.start()
    await host.publish(Order("fills", "x" * 50_000))
    while disk.room:
        await asyncio.sleep(0)
    try:
        await host.publish(Order("refused", "y" * 50_000))
    except Refused as error:
        print("refused:", error)
    disk.room = 1 << 30
    await host.publish(Order("later", "z"))
    await host.settled()
    print("kept:", sorted([key async for key, _ in host.wiring.instances["Desk"][0].rows.items()]))
    await host.close()

asyncio.run(main())
"""


def test_what_was_accepted_takes_effect_once_there_is_room(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
    command = [sys.executable, "-c", LIFE, str(tmp_path)]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == 0, ended.stderr
    refused, kept = ended.stdout.splitlines()
    assert refused.startswith("refused: ")
    assert str(tmp_path) in refused
    assert "full" in refused
    assert kept == "kept: ['fills', 'later']"
    assert "trying again in 5.0 s" in ended.stderr
