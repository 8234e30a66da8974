"""The worker of a check: runs one job from a file, leaves the run in another. `evidence.office` starts it."""

import asyncio
import sys
import traceback
from pathlib import Path
from typing import Any

from allotrope import compose
from allotrope.compose.logs import alone, remove
from allotrope.evidence.inputs import Given
from allotrope.evidence.runs import Job, Run, run
from allotrope.kernel import codec
from allotrope.kernel.components import App
from allotrope.kernel.errors import Refused
from allotrope.runtime.host import Host

REFUSED = 2


def main() -> None:
    """Run the job in the file named first, and write what came out to the file named second."""
    given, taken = map(Path, sys.argv[1:3])
    job = codec.decode(given.read_bytes(), Job)
    try:
        app = compose.load(job.app)
        found = asyncio.run(tried(job, app))
    except Refused as refused:
        print(refused, file=sys.stderr)
        sys.exit(REFUSED)
    taken.write_bytes(codec.encode(found))


async def tried(job: Job, app: App) -> Run:
    """Return what a job gives; a log on a server is its own, and is removed after it."""
    plan = compose.planned(app, alone(compose.document(job.preset), app.name, Path(job.folder)))

    def build(_app: App, _preset: str, folder: Path, *more: Any) -> Host:
        return compose.build(app, plan, folder, *more)

    found = await run(job, app, sampled(app), build)
    await remove(plan)
    return found


def sampled(app: App) -> tuple[Given, ...]:
    """Return the inputs of a check. Refused when the app has none, or cannot make them."""
    if app.sample is None:
        raise Refused(f"app {app.name} has no sample: App(..., sample=...) yields the inputs of a check")
    try:
        return tuple(app.sample(0))
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{last.filename}:{last.lineno}"
        raise Refused(
            f"the sample of app {app.name} failed: {type(error).__name__}: {error} ({place})"
        ) from error


if __name__ == "__main__":
    main()
