"""A host of one process pays for no distribution: what several processes need is not even imported."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

CODE = """if True:
    import asyncio, json, pathlib, sys
    import allotrope.cli.run
    from allotrope import compose

    async def work(preset, folder):
        host = compose.build(compose.load("tests.cli.shop"), preset, folder)
        await host.start()
        assert await host.drain(10.0)
        await host.close()

    asyncio.run(work(sys.argv[1], pathlib.Path(sys.argv[2])))
    print(json.dumps(sorted(sys.modules)))
"""
OURS = (
    "engines",
    "gateway",
    "launch",
    "sidecars",
    "transports.frames",
    "compose.fleets",
    "runtime.sites.apart",
)
THEIRS = (
    "cryptography",
    "google",
    "grpc",
    "httptools",
    "jwt",
    "multiprocessing",
    "prometheus_client",
    "uvicorn",
)


@pytest.mark.parametrize("preset", ["monolith", "modular-monolith"])
def test_a_host_in_one_process_imports_nothing_of_several(preset: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE, preset, str(tmp_path)], capture_output=True, text=True, check=True
    )
    loaded = json.loads(done.stdout)
    dear = (*(f"allotrope.{name}" for name in OURS), *THEIRS)
    assert "allotrope.runtime.sites.here" in loaded
    assert [name for name in loaded if any(f"{name}.".startswith(f"{one}.") for one in dear)] == []
