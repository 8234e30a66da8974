"""`allotrope serve` and `allotrope keys`, as a person uses them."""

import re
import signal
import stat
import subprocess
import sys
from pathlib import Path

import grpc
import httpx
import pytest

from tests.cli.conftest import APP, ROOT, Allotrope, environment


def served(*arguments: str) -> tuple[subprocess.Popen[str], str, str]:
    """Start a server; return it with its address and what it said of itself."""
    command = [sys.executable, "-m", "allotrope", "serve", APP, "--port", "0", *arguments]
    process = subprocess.Popen(command, cwd=ROOT, env=environment(), stderr=subprocess.PIPE, text=True)
    said = ""
    assert process.stderr is not None
    for line in process.stderr:
        said += line
        if "Ctrl-C" in line:
            break
    found = re.search(r"serves +(http://[\d.:]+)", said)
    if found is None:
        process.wait(20)
        pytest.fail(said)
    return process, found[1], said


def ended(process: subprocess.Popen[str]) -> str:
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 0, said
    return said


def modes(*places: Path) -> set[int]:
    return {stat.S_IMODE(place.stat().st_mode) for place in places}


@pytest.mark.parametrize("preset", ["modular-monolith", "microservices"])
def test_it_serves_until_it_is_told_to_stop(tmp_path: Path, preset: str) -> None:
    kept = tmp_path / "kept"
    process, base, said = served("--topology", preset, "--folder", str(kept))
    assert "everybody on this machine" in said
    order = {"id": "o1", "customer": "ann", "amount": "10", "at": "2026-01-01T10:00:00Z"}
    with httpx.Client(base_url=base) as client:
        assert client.post("/events/Ordered", json=order).status_code == 202
        assert client.post("/Till/refund", json={"id": "o9"}).json()["fields"] == {"id": "o9"}
        assert client.get("/Till/all").status_code == 200
        assert "allotrope_calls_total" in client.get("/metrics").text
        assert "allotrope_flows" in client.get("/metrics").text
    if preset == "microservices":
        assert modes(kept, kept / "run", kept / "logs") == {0o700}
        assert modes(kept / "run" / "spec", *(kept / "logs").iterdir()) == {0o600}
    told = ended(process)
    if preset == "microservices":  # there the process of the gateway knows
        told = (kept / "logs" / "gateway.log").read_text()
    assert "requests answered; all finished" in told


def test_one_folder_is_served_or_run_by_one_at_a_time(tmp_path: Path, allotrope: Allotrope) -> None:
    common = ("--topology", "microservices", "--folder", str(tmp_path))
    command = [sys.executable, "-m", "allotrope", "run", APP, "--input", "-", *common]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    running = subprocess.Popen(command, cwd=ROOT, env=environment(), text=True, **pipes)
    assert running.stdin is not None
    assert running.stdout is not None
    data = '"customer": "ann", "amount": "1", "at": "2026-01-01T10:00:00Z"'
    order = '{"event": "Ordered", "data": {"id": "o%d", ' + data + "}}\n"
    running.stdin.write(order % 1)
    running.stdin.flush()
    assert running.stdout.readline()
    key = (tmp_path / "run" / "key").read_bytes()
    refused = allotrope("serve", APP, "--port", "0", *common)
    assert (refused.returncode, f"in use by process {running.pid}" in refused.stderr) == (2, True)
    assert (tmp_path / "run" / "key").read_bytes() == key
    _, said = running.communicate(order % 2, timeout=20)
    assert running.returncode == 0, said
    process, _, _ = served(*common)  # its end has let go of the folder
    ended(process)


def test_a_folder_that_cannot_be_is_refused(tmp_path: Path, allotrope: Allotrope) -> None:
    (tmp_path / "file").touch()
    refused = allotrope(
        "serve", APP, "--port", "0", "-t", "microservices", "--folder", str(tmp_path / "file" / "kept")
    )
    assert (refused.returncode, "name another folder" in refused.stderr) == (2, True)
    assert "Traceback" not in refused.stderr


def test_keys_are_made_listed_used_and_revoked(tmp_path: Path, allotrope: Allotrope) -> None:
    folder = str(tmp_path)
    made = allotrope(
        "keys", "new", "ann", "--folder", folder, "--tenant", "shop", "--scope", "Till.*", "--scope", "docs"
    )
    assert made.returncode == 0, made.stderr
    key = made.stdout.strip()
    assert "Till.*, docs" in made.stderr
    process, base, said = served("--folder", folder)
    assert "1 key in" in said
    with httpx.Client(base_url=base, headers={"x-api-key": key}) as client:
        assert client.get("/Till/all").status_code == 200
        assert client.get("/Rates/mood").status_code == 403
        assert client.get("/Till/all", headers={"x-api-key": ""}).status_code == 401
    ended(process)
    listed = allotrope("keys", "ls", "--folder", folder).stdout
    assert re.search(r"ann +shop +20\S+ +Till\.\*, docs", listed)
    assert key not in listed
    assert allotrope("keys", "revoke", "ann", "--folder", folder).returncode == 0
    assert allotrope("keys", "revoke", "ann", "--folder", folder).returncode == 2
    assert "no keys" in allotrope("keys", "ls", "--folder", folder).stderr
    assert allotrope("keys", "new", "--folder", folder).returncode == 2


def test_others_may_come_only_with_keys(tmp_path: Path, allotrope: Allotrope) -> None:
    refused = allotrope("serve", APP, "--host", "0.0.0.0", "--port", "0", "--folder", str(tmp_path))
    assert refused.returncode == 2
    assert "allotrope keys new" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_port_that_is_taken(tmp_path: Path, allotrope: Allotrope) -> None:
    process, base, _ = served("--folder", str(tmp_path / "one"))
    refused = allotrope("serve", APP, "--port", base.rpartition(":")[2], "--folder", str(tmp_path / "two"))
    assert (refused.returncode, "choose another --port" in refused.stderr) == (2, True)
    ended(process)


def test_grpc_beside_http_and_its_contract(tmp_path: Path, allotrope: Allotrope) -> None:
    text = allotrope("proto", APP).stdout
    assert "service Till {" in text
    assert "rpc Refund(TillRefundRequest) returns (TillRefundReply);" in text
    process, _, _ = served("--folder", str(tmp_path), "--grpc", "0")
    assert process.stderr is not None
    address = re.search(r"gRPC +([\d.:]+);", process.stderr.readline())
    assert address is not None
    with grpc.insecure_channel(address[1]) as channel:
        assert channel.unary_unary("/shop.Till/All")(b"") == b""
    ended(process)
