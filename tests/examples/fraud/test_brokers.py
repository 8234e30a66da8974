"""The fraud example with its log on each kind of server: the same answers as in one process, after kills too.

On PostgreSQL its ledgers are in the same database.
"""

import contextlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import servers

TOPOLOGY = """
base = "{base}"
durability = "process"
[log]
kind = "{kind}"
url = "{url}"
"""


@contextlib.contextmanager
def address(kind: str, folder: Path) -> Iterator[str]:
    """Yield the address of a server of a kind."""
    if kind == "nats":
        with servers.nats_server(folder) as server:
            yield f"nats://127.0.0.1:{server.port}"
    elif kind == "redis":
        with servers.redis_server(folder) as server:
            yield f"redis://127.0.0.1:{server.port}"
    elif kind == "postgres":
        yield servers.postgres()
    else:
        with servers.kafka_mock() as mock:
            yield f"kafka://127.0.0.1:{mock.port}"


@pytest.mark.long
@pytest.mark.service
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "kind", ["nats", "redis", "postgres", "kafka"], ids=lambda kind: kind.replace("kafka", "mock kafka")
)
def test_a_check_finds_no_difference_on_a_server(kind: str, tmp_path: Path) -> None:
    with address(kind, tmp_path / "server") as url:
        files = []
        for base in ("modular-monolith", "event-driven"):
            file = tmp_path / f"{base}.toml"
            ledger = f'[ledger]\nkind = "postgres"\nurl = "{url}"\n' if kind == "postgres" else ""
            file.write_text(TOPOLOGY.format(base=base, kind=kind, url=url) + ledger)
            files += ["--topology", str(file)]
        command = [sys.executable, "-m", "allotrope", "check", "examples.fraud", "--presets", "monolith"]
        ended = subprocess.run(
            [*command, "--seeds", "1", *files], capture_output=True, text=True, timeout=500, check=False
        )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert re.search(r"^0 differences in [\d,]+ comparisons", ended.stdout, re.MULTILINE)
