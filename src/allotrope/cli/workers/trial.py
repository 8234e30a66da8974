"""The worker of a check: runs one job from a file, leaves the run in another. `evidence.office` starts it."""

import asyncio
import sys
import traceback
from pathlib import Path

from allotrope import compose
from allotrope.evidence.inputs import Given
from allotrope.evidence.runs import Job, run
from allotrope.kernel import codec
from allotrope.kernel.components import App
from allotrope.kernel.errors import Refused

REFUSED = 2


def main() -> None:
    """Run the job in the file named first, and write what came out to the file named second."""
    given, taken = map(Path, sys.argv[1:3])
    job = codec.decode(given.read_bytes(), Job)
    try:
        app = compose.load(job.app)
        found = asyncio.run(run(job, app, sampled(app), compose.build))
    except Refused as refused:
        print(refused, file=sys.stderr)
        sys.exit(REFUSED)
    taken.write_bytes(codec.encode(found))


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
