"""`check`: one input through every layout, many seeds, a process for each run; the answers must not change.

The first run is calm, in one process and one instance, and is the reference. Every other one has two
instances of each component, another order of work, repeats, its own hash seed, and, where the layout keeps
anything, a kill -9 followed by a restart. Where answers differ, a few more runs try each disturbance alone.
Not here: which layouts there are (`compose`), what to do about a difference (`hints`).
"""

import asyncio
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from allotrope.evidence.chaos import STIRS, Stir
from allotrope.evidence.compare import Amounts, Difference, Loose, compared, own
from allotrope.evidence.office import Office
from allotrope.evidence.runs import Job, Run
from allotrope.planning.plans import Plan

Cause = Stir | str  # a disturbance, the name of a layout, or NOTHING
NOTHING = "nothing"
TRIES = 2  # of each disturbance alone


class Layout(msgspec.Struct, frozen=True):
    """A preset or topology file, and whether it keeps what it accepted, so that a kill makes sense."""

    name: str
    durable: bool


class Divergence(msgspec.Struct):
    """Where answers differ: what differed first, in which runs, and what alone brings it out."""

    first: Difference
    runs: list[tuple[str, int]] = []  # (layout, seed)
    causes: tuple[Cause, ...] = ()
    settings: tuple[str, ...] = ()  # what explains it: those that the topologies of these runs set otherwise


class Verdict(msgspec.Struct, kw_only=True):
    """What a check found, by layout. Nothing compared is a failure, too."""

    counts: dict[str, Amounts]
    places: dict[str, Divergence] = {}
    followed: dict[str, int] = {}  # what differs only because of those, and in how many runs
    failures: dict[str, int] = {}  # what ended with an error that nobody declared, alike in every run

    @property
    def compared(self) -> int:
        """Return how many things were compared."""
        return sum(counts.compared for counts in self.counts.values())

    @property
    def equal(self) -> bool:
        """Return whether something was compared and nothing differed."""
        return not self.places and not self.followed and self.compared > 0

    def note(self, run: tuple[str, int], differences: Iterable[Difference]) -> None:
        """Keep the first difference of each place in a run."""
        seen: set[str] = set()
        for difference in differences:
            where = difference.where
            if where in seen:
                continue
            seen.add(where)
            if difference.follows:
                self.followed[where] = self.followed.get(where, 0) + 1
                continue
            place = self.places.setdefault(where, Divergence(difference))
            place.runs.append(run)
            if difference.rank < place.first.rank:
                place.first = difference

    def close(self, reference: Run) -> None:
        """Put the places in causal order and drop from what followed what is a place of its own."""
        self.places = dict(sorted(self.places.items(), key=lambda item: (item[1].first.rank, item[0])))
        self.followed = {where: runs for where, runs in self.followed.items() if where not in self.places}
        failed = Counter(step.error for step in reference.steps if step.error.startswith("Failed: "))
        self.failures = dict(failed.most_common())


Progress = Callable[[int, int], None]


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What to check: the app of a module, the reference layout first; `loose` is what may vary."""

    app: str
    layouts: tuple[Layout, ...]
    seeds: int
    loose: Loose = frozenset()


async def check(
    request: Request, worker: Sequence[str], progress: Progress = lambda done, all: None
) -> Verdict:
    """Return the verdict on an app. `worker` is the command that runs one job from file to file."""
    with tempfile.TemporaryDirectory(prefix="allotrope-check-") as folder:
        return await Check(request, Office(Path(folder), worker), progress).verdict()


def varying(plan: Plan) -> Loose:
    """Return (component, what it reads) of all loose reads, those by way of another component, too."""
    loose = {(component, named) for component, _, named in plan.loose}
    grown = True
    while grown:
        own = {component for component, _ in loose}
        asked = {
            (title.partition(".")[0], reach.component)
            for title, reached in plan.calls.items()
            for reach in reached
            if reach.component in own
        }
        grown = not asked <= loose
        loose |= asked
    return frozenset(loose)


class Check:
    """One check under way."""

    def __init__(self, request: Request, office: Office, progress: Progress) -> None:
        """Compare every other run with one of the first layout."""
        self.app, self.layouts, self.loose = request.app, request.layouts, request.loose
        self.seeds, self.office, self.progress = request.seeds, office, progress
        self.found = Verdict(counts={layout.name: Amounts() for layout in request.layouts})
        self.done, self.total = 0, 1
        self.unlike: dict[
            str, dict[str, str]
        ] = {}  # layout -> setting -> how it differs from the reference's

    async def verdict(self) -> Verdict:
        """Run everything and return what was found."""
        self.total += self.seeds * len(self.layouts)
        first = self.layouts[0]
        self.reference, _ = await self.office.run(Job(app=self.app, preset=first.name, watched=True))
        self._advance()
        self.found.note(("reference", 0), own(self.reference))
        await _together(
            self._compare(layout, seed) for seed in range(1, self.seeds + 1) for layout in self.layouts
        )
        if any(place.first.rank for place in self.found.places.values()):
            await self._narrow()
        self.found.close(self.reference)
        for where, place in self.found.places.items():
            if place.first.rank:
                place.settings = tuple(self._settings(where.partition(".")[0], place))
        return self.found

    def _settings(self, component: str, place: Divergence) -> Iterator[str]:
        """Yield how the settings differ where a place does; those of its own component, if there are any."""
        layouts = dict.fromkeys(layout for layout, _ in place.runs)
        if all(self.unlike.get(layout) for layout in layouts):
            found = {name: told for layout in layouts for name, told in self.unlike[layout].items()}
            own = [told for name, told in found.items() if name.partition(".")[0] == component]
            yield from own or found.values()

    def _advance(self) -> None:
        self.done += 1
        self.progress(self.done, self.total)

    def _job(self, layout: Layout, seed: int, stirs: tuple[Stir, ...]) -> Job:
        kill = layout.durable and "kill" in stirs
        recalled = self.reference.recalled
        return Job(app=self.app, preset=layout.name, seed=seed, stirs=stirs, kill=kill, recalled=recalled)

    async def _compare(self, layout: Layout, seed: int) -> None:
        run, kills = await self.office.run(self._job(layout, seed, STIRS))
        counts, differences = compared(self.reference, run, self.loose)
        counts.kills = kills + run.struck
        self.unlike[layout.name] = _unlike(self.reference, run, layout.name)
        self.found.counts[layout.name].add(counts)
        self.found.note((layout.name, seed), differences)
        self._advance()

    async def _narrow(self) -> None:
        """Find out, for each place, which disturbance brings it out when it comes alone."""
        plain, durable = self.layouts[0], next((layout for layout in self.layouts if layout.durable), None)
        shown = Counter(run for place in self.found.places.values() for run in place.runs if run[1])
        seeds = list(dict.fromkeys(seed for (_, seed), _ in shown.most_common()))[:TRIES]
        trials: list[tuple[Cause, Job]] = [(NOTHING, self._job(plain, 0, ()))]
        trials += [(layout.name, self._job(layout, 0, ())) for layout in self.layouts[1:]]
        for stir in STIRS:
            layout = plain if stir != "kill" else durable
            if layout is not None:
                trials += [(stir, self._job(layout, seed, (stir,))) for seed in seeds]
        self.total += len(trials)
        causes: dict[str, dict[Cause, None]] = {where: {} for where in self.found.places}

        async def attempt(cause: Cause, job: Job) -> None:
            run, _ = await self.office.run(job)
            for difference in compared(self.reference, run, self.loose)[1]:
                if difference.where in causes and not difference.follows:
                    causes[difference.where][cause] = None
            self._advance()

        await _together(attempt(cause, job) for cause, job in trials)
        for where, alone in causes.items():
            known = [cause for cause in (*STIRS, *alone) if cause in alone]
            self.found.places[where].causes = (NOTHING,) if NOTHING in alone else tuple(dict.fromkeys(known))


def _unlike(reference: Run, found: Run, layout: str) -> dict[str, str]:
    ours, theirs = reference.settings, found.settings
    return {
        name: f"{name} is {theirs.get(name, 'left at its default')} under {layout} and "
        f"{ours.get(name, 'left at its default')} in the reference"
        for name in sorted({*ours, *theirs})
        if ours.get(name) != theirs.get(name)
    }


async def _together(work: Iterable[Awaitable[None]]) -> None:
    """Do all of it at once; the first failure cancels the rest and is raised as it is."""
    try:
        async with asyncio.TaskGroup() as group:
            for one in work:
                group.create_task(_await(one))
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None


async def _await(one: Awaitable[None]) -> None:
    await one
