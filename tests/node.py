"""Packages of Node that say whether others understand us. Installed once, into the folder for temporary files.

Without Node or the packages a test is skipped and says so, or fails under ALLOTROPE_SERVICES=required.
"""

import json
import shutil
import subprocess
import tempfile
import zlib
from pathlib import Path
from typing import Any

from tests.servers import missing

PACKAGES = ("cloudevents@10.0.0", "@asyncapi/parser@3.6.3")
INSTALL_S, RUN_S = 240, 60


def packages() -> Path:
    """Return the folder in which the packages are."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if not (node and npm):
        missing("node with npm")
    name = f"allotrope-node-{zlib.crc32(' '.join(PACKAGES).encode()):08x}"
    there = Path(tempfile.gettempdir()) / name
    if not (there / "node_modules").is_dir():
        fresh = Path(tempfile.mkdtemp(prefix="allotrope-npm-"))
        (fresh / "package.json").write_text('{"private": true}', "utf-8")
        command = [
            str(npm),
            "install",
            "--no-audit",
            "--no-fund",
            "--ignore-scripts",
            "--no-package-lock",
            *PACKAGES,
        ]
        try:
            done = subprocess.run(command, cwd=fresh, capture_output=True, timeout=INSTALL_S, check=False)
        except subprocess.TimeoutExpired:
            missing(f"packages {', '.join(PACKAGES)}: npm took too long")
        if done.returncode:
            missing(f"packages {', '.join(PACKAGES)}: npm says {done.stderr.decode()[-300:]}")
        if not there.exists():
            fresh.rename(there)
    return there


def run(script: str, given: Any) -> Any:
    """Return what a script makes of `given`: both are JSON; in the script it is `given`, and `answer` answers."""
    head = 'const given = JSON.parse(require("fs").readFileSync(0));\n'
    tail = "\nfunction answer(value) { process.stdout.write(JSON.stringify(value)); }\n"
    done = subprocess.run(
        ["node", "-e", head + script + tail], cwd=packages(), input=json.dumps(given).encode(),
        capture_output=True, timeout=RUN_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)
