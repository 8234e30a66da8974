"""A component called from another process under the preset microservices: the whole way through our runtime."""

import asyncio
import tempfile
from pathlib import Path

from allotrope.compose import build, fast_loop
from benchmarks.forms import Features
from benchmarks.peers import harness
from benchmarks.peers.app import Model, Sheet, app

ASKED = Features(*(getattr(harness.ASKED, name) for name in harness.Features.__struct_fields__))
ARRAY = Sheet(harness.ARRAY)


async def ask(folder: Path) -> None:
    """Call and measure."""
    host = build(app, "microservices", folder)
    await host.start()
    model = host.of(Model)

    async def small() -> harness.Score:
        found = await model.predict(ASKED)
        return harness.Score(found.probability, found.version)

    async def large() -> float:
        return await model.read(ARRAY)

    try:
        await harness.answered(small, large)
    finally:
        await host.drain()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made, asyncio.Runner(loop_factory=fast_loop()) as runner:
        runner.run(ask(Path(made)))
