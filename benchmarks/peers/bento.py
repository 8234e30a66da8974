"""BentoML: one service depends on another, each in a process of its own, as `bentoml serve` runs them."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request

import bentoml
import numpy
from pydantic import BaseModel

from benchmarks.peers import harness
from benchmarks.peers.harness import ARRAY

WITH = {
    "workers": 1,
    "traffic": {"timeout": 60, "max_concurrency": 512},
    "logging": {"access": {"enabled": False}},
}
ROW = [getattr(harness.ASKED, f"f{number}") for number in range(12)]


class Asked(BaseModel):
    """What is asked about."""

    id: str
    row: list[float]


class Answered(BaseModel):
    """What is answered."""

    probability: float
    version: str


@bentoml.service(**WITH)
class Model:
    """Answers."""

    @bentoml.api
    async def predict(self, asked: Asked) -> Answered:
        """Return a score."""
        found = harness.score(harness.Features(asked.id, *asked.row))
        return Answered(probability=found.probability, version=found.version)

    @bentoml.api
    async def read(self, array: numpy.ndarray) -> float:
        """Return the sum."""
        return float(array.sum())


@bentoml.service(**WITH)
class Edge:
    """Calls, and measures."""

    model = bentoml.depends(Model)

    @bentoml.api
    async def measure(self, line: str) -> dict:
        """Return what one command measured."""
        model = self.model.to_async

        async def small() -> object:
            return await model.predict(asked=Asked(id=harness.ASKED.id, row=ROW))

        async def large() -> float:
            return await model.read(array=ARRAY)

        if line == "check":
            found = await small()
            value = found["probability"] if isinstance(found, dict) else found.probability
            assert value == harness.score(harness.ASKED).probability
            assert float(await large()) == harness.TOTAL
            return {"ready": True}
        return await harness.measured(line, small, large)


def posted(port: int, line: str) -> str:
    """Return the answer to one command as a line of JSON."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/measure",
        json.dumps({"line": line}).encode(),
        {"content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as reply:
        return json.dumps(json.loads(reply.read()))


def main() -> None:
    """Measure for each line that comes in."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        os.path.join(os.path.dirname(sys.executable), "bentoml"),
        "serve",
        "benchmarks.peers.bento:Edge",
    ]
    environment = {**os.environ, "BENTOML_DO_NOT_TRACK": "True", "PYTHONPATH": os.getcwd()}
    environment["PATH"] = os.path.dirname(sys.executable) + os.pathsep + environment["PATH"]
    with subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--port", str(port)], env=environment, stdout=sys.stderr
    ) as process:
        try:
            end = time.monotonic() + 60
            while True:
                try:
                    print(posted(port, "check"), flush=True)
                    break
                except OSError:
                    if time.monotonic() > end or process.poll() is not None:
                        raise
                    time.sleep(0.5)
            for line in sys.stdin:
                print(posted(port, line), flush=True)
        finally:
            process.terminate()


if __name__ == "__main__":
    main()
