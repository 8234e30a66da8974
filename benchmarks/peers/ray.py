"""Ray Serve: one deployment calls another through its handle, both replicas on this machine."""

import json
import os
import sys
import tempfile

import numpy
import ray
from ray import serve

from benchmarks.peers import harness
from benchmarks.peers.harness import ARRAY, ASKED, Features, Score

WITH = {"max_ongoing_requests": 256, "ray_actor_options": {"num_cpus": 0}}


@serve.deployment(**WITH)
class Model:
    """Answers."""

    async def predict(self, features: Features) -> Score:
        """Return a score."""
        return harness.score(features)

    async def read(self, array: numpy.ndarray) -> float:
        """Return the sum."""
        return harness.total(array)


@serve.deployment(**WITH)
class Edge:
    """Calls, and measures."""

    def __init__(self, model: object) -> None:
        self.model = model

    async def measure(self, line: str) -> dict[str, float]:
        """Return what one command measured."""

        async def small() -> Score:
            return await self.model.predict.remote(ASKED)

        async def large() -> float:
            return await self.model.read.remote(ARRAY)

        if line == "check":
            assert await small() == harness.score(ASKED)
            assert await large() == harness.TOTAL
            return {"ready": True}
        return await harness.measured(line, small, large)


def main() -> None:
    """Measure for each line that comes in."""
    with tempfile.TemporaryDirectory() as folder:
        ray.init(
            num_cpus=2, include_dashboard=False, object_store_memory=1 << 29, log_to_driver=False, _temp_dir=folder,
            runtime_env={"env_vars": {"PYTHONPATH": os.getcwd()}}, configure_logging=False,
        )  # fmt: skip
        quiet = {"enable_access_log": False, "log_level": "ERROR"}
        edge = serve.run(Edge.bind(Model.bind()), route_prefix=None, logging_config=quiet)
        print(json.dumps(edge.measure.remote("check").result()), flush=True)
        for line in sys.stdin:
            print(json.dumps(edge.measure.remote(line).result()), flush=True)
        serve.shutdown()
        ray.shutdown()


if __name__ == "__main__":
    main()
