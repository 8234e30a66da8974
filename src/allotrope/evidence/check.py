"""`check`: one input through every layout, many seeds, a process for each run; the answers must not change.

The first run is calm, in one process and one instance, and is the reference. Every other one has two instances of
each component, another order of work, repeats, its own hash seed, and, where the layout keeps anything, a kill -9
followed by a restart. Not here: which layouts there are (`compose`).
"""

import asyncio
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from allotrope.evidence.compare import Counts, Difference, compared
from allotrope.evidence.runs import Job, Run
from allotrope.kernel import codec
from allotrope.kernel.errors import Refused

ATTEMPTS = 3


class Layout(msgspec.Struct, frozen=True):
    """A preset or topology file, and whether it keeps what it accepted, so that a kill makes sense."""

    name: str
    durable: bool


class Verdict(msgspec.Struct, kw_only=True):
    """What a check found, by layout. Nothing compared is a failure, too."""

    counts: dict[str, Counts]
    differences: dict[tuple[str, str], list[str]]  # (where, first thing wrong) -> runs that show it

    @property
    def equal(self) -> bool:
        """Return whether something was compared and nothing differed."""
        return not self.differences and any(c.deliveries + c.inputs for c in self.counts.values())


Progress = Callable[[int, int], None]


async def check(
    app: str, layouts: Sequence[Layout], seeds: int, worker: Sequence[str], progress: Progress = lambda done, all: None
) -> Verdict:
    """Return the verdict on the app of module `app`. `worker` is the command that runs one job from file to file."""
    verdict = Verdict(counts={layout.name: Counts() for layout in layouts}, differences={})
    total, done = 1 + seeds * len(layouts), 0
    with tempfile.TemporaryDirectory(prefix="allotrope-check-") as folder:
        office = Office(Path(folder), worker)
        reference, _ = await office.run(Job(app=app, preset=layouts[0].name, seed=0, watched=True), 0)
        progress(1, total)
        _note(verdict, "reference", [Difference(where, what) for where, what in reference.findings])
        places = asyncio.Semaphore(max(1, os.cpu_count() or 1))

        async def one(layout: Layout, seed: int) -> None:
            nonlocal done
            job = Job(
                app=app, preset=layout.name, seed=seed, temper="shuffled", replicas=2, kill=layout.durable,
                recalled=reference.recalled,
            )  # fmt: skip
            async with places:
                found, kills = await office.run(job, seed)
            counts, differences = compared(reference, found)
            counts.kills = kills
            verdict.counts[layout.name].add(counts)
            _note(verdict, f"{layout.name}, seed {seed}", differences)
            done += 1
            progress(done + 1, total)

        async with asyncio.TaskGroup() as group:
            for seed in range(1, seeds + 1):
                for layout in layouts:
                    group.create_task(one(layout, seed))
    return verdict


def _note(verdict: Verdict, run: str, differences: list[Difference]) -> None:
    """Keep the first difference of each place in a run: what follows from it is not news."""
    seen: set[str] = set()
    for difference in differences:
        if difference.where not in seen:
            seen.add(difference.where)
            known = next((key for key in verdict.differences if key[0] == difference.where), None)
            verdict.differences.setdefault(known or (difference.where, difference.what), []).append(run)


class Office:
    """Hands jobs to worker processes."""

    def __init__(self, folder: Path, worker: Sequence[str]) -> None:
        """Keep what the jobs need below `folder`."""
        self.folder, self.worker = folder, worker

    async def run(self, job: Job, hash_seed: int) -> tuple[Run, int]:
        """Return what a job gives, and how often it was killed on the way."""
        where = self.folder / f"{Path(job.preset).stem}-{job.seed}"
        where.mkdir()
        kills = 0
        for _ in range(ATTEMPTS):
            given, taken = where / "job", where / "run"
            given.write_bytes(codec.encode(msgspec.structs.replace(job, folder=str(where / "data"))))
            code, told = await self._start(given, taken, hash_seed)
            if code == 0:
                return codec.decode(taken.read_bytes(), Run), kills
            if code != -9:
                raise Refused(f"{job.preset}, seed {job.seed}: the run ended with status {code}:\n{told[-2000:]}")
            kills += 1
            job = msgspec.structs.replace(job, kill=False)
        raise Refused(f"{job.preset}, seed {job.seed}: killed {kills} times; is the machine out of memory?")

    async def _start(self, given: Path, taken: Path, hash_seed: int) -> tuple[int, str]:
        environment = {**os.environ, "PYTHONHASHSEED": str(hash_seed)}
        process = await asyncio.create_subprocess_exec(
            sys.executable, *self.worker, str(given), str(taken), env=environment,
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        _, told = await process.communicate()
        return process.returncode or 0, told.decode(errors="replace")
