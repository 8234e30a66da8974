"""The worker of a check: runs one job from a file and leaves the run in another. Started by `evidence.check`."""

import asyncio
import sys
from pathlib import Path

from allotrope import compose
from allotrope.evidence.runs import Job, run
from allotrope.kernel import codec


def main() -> None:
    """Run the job in the file named first, and write what came out to the file named second."""
    given, taken = map(Path, sys.argv[1:3])
    job = codec.decode(given.read_bytes(), Job)
    app = compose.load(job.app)
    if app.sample is None:
        sys.exit(f"app {app.name} has no sample: App(..., sample=...) yields the inputs of a check")
    inputs = tuple(app.sample(0))
    found = asyncio.run(run(job, app, inputs, compose.build))
    taken.write_bytes(codec.encode(found))


if __name__ == "__main__":
    main()
