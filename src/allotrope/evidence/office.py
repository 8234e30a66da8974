"""The office of a check: hands each job to a worker process of its own and takes back the run."""

import asyncio
import os
import sys
from collections.abc import Sequence
from itertools import count
from pathlib import Path

import msgspec

from allotrope.evidence.runs import Job, Run
from allotrope.kernel import codec
from allotrope.kernel.errors import Refused

ATTEMPTS = 3
KILLED, REFUSED = -9, 2  # what a worker ends with


class Office:
    """Runs as many jobs at once as there are processors."""

    def __init__(self, folder: Path, worker: Sequence[str]) -> None:
        """Keep what jobs need below `folder`; `worker` is the command that runs one from file to file."""
        self.folder, self.worker = folder, worker
        self._numbers = count(1)
        self._places = asyncio.Semaphore(max(1, os.cpu_count() or 1))

    async def run(self, job: Job) -> tuple[Run, int]:
        """Return what a job gives, and how often it was killed on the way."""
        async with self._places:
            where = self.folder / f"run-{next(self._numbers)}"
            where.mkdir()
            return await self._finished(msgspec.structs.replace(job, folder=str(where / "data")), where)

    async def _finished(self, job: Job, where: Path) -> tuple[Run, int]:
        given, taken = where / "job", where / "run"
        for kills in range(ATTEMPTS):
            given.write_bytes(codec.encode(msgspec.structs.replace(job, kill=job.kill and not kills)))
            code, told = await self._start(given, taken, job.seed if "hashes" in job.stirs else 0)
            if code == 0:
                return codec.decode(taken.read_bytes(), Run), kills
            if code == REFUSED:
                raise Refused(told.strip())
            if code != KILLED:
                raise Refused(
                    f"{job.preset}, seed {job.seed}: the run ended with status {code}:\n{told[-2000:]}"
                )
        raise Refused(
            f"{job.preset}, seed {job.seed}: killed {ATTEMPTS} times; is the machine out of memory?"
        )

    async def _start(self, given: Path, taken: Path, hash_seed: int) -> tuple[int, str]:
        process = await asyncio.create_subprocess_exec(
            sys.executable, *self.worker, str(given), str(taken),
            env={**os.environ, "PYTHONHASHSEED": str(hash_seed)},
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            _, told = await process.communicate()
        except asyncio.CancelledError:  # Ctrl-C, or another run was refused: nothing must stay behind
            process.kill()
            await process.wait()
            raise
        return process.returncode or 0, told.decode(errors="replace")
