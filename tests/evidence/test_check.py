"""What a check finds, and what it leaves in peace: one mistake to an app in `planted`, none in `clean`."""

import asyncio
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest

from allotrope import App, compose
from allotrope.evidence.check import Layout, Request, Verdict, check, varying
from allotrope.evidence.hints import hint
from allotrope.evidence.runs import Job, Run, run
from allotrope.kernel import codec
from allotrope.planning.plans import plan
from tests.evidence import edges
from tests.evidence.shop import orders

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
LAYOUTS = (Layout("monolith", False), Layout("loopback", False), Layout("modular-monolith", True))
UNITS = Layout("microservices", True)
WORKER = ("-m", "allotrope.cli.workers.trial")


def names(folder: str) -> list[str]:
    return sorted(f"{folder}.{path.stem}" for path in (HERE / folder).glob("*.py"))


PLANTED, CLEAN = names("planted"), names("clean")
QUICK = [
    "planted.set_order",
    "planted.table_race",
    "planted.stale_alias",
    "planted.wall_date",
    "planted.float_merge",
]
missed: dict[str, list[str]] = {}
verdicts: dict[str, Verdict] = {}


@pytest.fixture(autouse=True)
def _at_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)  # the worker processes import the apps from here


def checked(name: str, seeds: int, layouts: tuple[Layout, ...] = LAYOUTS) -> Verdict:
    module = f"tests.evidence.{name}"
    loose = varying(plan(import_module(module).app, compose.document("monolith")))
    verdict = asyncio.run(check(Request(app=module, layouts=layouts, seeds=seeds, loose=loose), WORKER))
    verdicts[name] = verdict
    return verdict


def assert_found(name: str, seeds: int) -> None:
    verdict = checked(name, seeds)
    wanted = import_module(f"tests.evidence.{name}").PLACES
    if not wanted & verdict.places.keys():
        missed[name] = sorted(verdict.places)
    assert wanted <= verdict.places.keys(), f"{wanted} are not among {sorted(verdict.places)}"
    assert not verdict.places.keys() - wanted, "an operation is accused that did nothing wrong"
    assert not verdict.equal
    assert all(all(hint(place)) for place in verdict.places.values())


@pytest.mark.parametrize("name", QUICK)
def test_a_mistake_is_found_where_it_is(name: str) -> None:
    assert_found(name, seeds=1)


def test_a_sound_app_is_equal() -> None:
    verdict = checked("clean.views", seeds=1)
    assert (verdict.equal, verdict.places, verdict.followed) == (True, {}, {})
    assert all(counts.deliveries > 50 and counts.repeats for counts in verdict.counts.values())
    assert verdict.counts["modular-monolith"].kills == 1


@pytest.mark.parametrize("layouts", [(LAYOUTS[0], UNITS), (UNITS, LAYOUTS[0])])
def test_answers_that_cannot_be_repeated_are_recalled_in_units(layouts: tuple[Layout, ...]) -> None:
    verdict = checked("clean.outside", seeds=1, layouts=layouts)
    assert (verdict.equal, verdict.places) == (True, {})
    assert verdict.counts["microservices"].repeats > 0


def test_what_only_follows_from_a_loose_read_is_no_difference() -> None:
    verdict = checked("clean.loosely", seeds=2)
    assert verdict.equal
    assert sum(counts.excused for counts in verdict.counts.values()) > 0


def test_what_alone_brings_a_difference_out_is_told() -> None:
    assert checked("planted.doubled_event", seeds=2).places["Clerk.note"].causes == ("repeats",)


def test_what_follows_is_told_apart_from_the_cause() -> None:
    verdict = checked("planted.lost_event", seeds=1)
    assert list(verdict.places) == ["Clerk.note"]
    assert list(verdict.followed) == ["Reader.read"]


def test_errors_that_nobody_declared_are_told_even_when_they_are_equal() -> None:
    verdict = checked("clean.failing", seeds=1)
    assert verdict.equal
    assert verdict.failures
    assert all(error.startswith("Failed: Clerk.note failed: ValueError") for error in verdict.failures)


async def driven(app: App, preset: str = "monolith") -> Run:
    assert app.sample is not None
    return await run(
        Job(app=app.name, preset=preset, stirs=("order",)), app, tuple(app.sample(0)), compose.build
    )


async def test_a_check_waits_for_no_pause_between_attempts() -> None:
    """A host waits 0.2 s between the three attempts of each of these orders, one after the other."""
    began = time.perf_counter()
    found = await driven(edges.failing)
    assert time.perf_counter() - began < 6
    assert len([step for step in found.steps if step.error.startswith("Failed: Failing.note failed")]) == 60


async def test_a_deadline_that_only_the_check_is_late_for_decides_nothing() -> None:
    found = await driven(edges.late)
    assert [codec.decode(body)["text"] for step in found.steps for _, body in step.events] == [
        f"no {given.event.item}" for given in orders(8)
    ]


def test_what_a_topology_sets_is_told_as_the_cause(tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_text('base = "monolith"\n[setting]\n"Oracle.prefix" = "yes"\n', "utf-8")
    layouts = (LAYOUTS[0], Layout(str(file), False))
    request = Request(app="tests.evidence.edges:late", layouts=layouts, seeds=1)
    verdict = asyncio.run(check(request, WORKER))
    ((where, place),) = verdict.places.items()
    assert where == "Oracle.ask"
    cause, remedy = hint(place)
    assert cause == (
        f"The topologies set something else: Oracle.prefix is 'yes' under {file} and left at its default in the "
        "reference."
    )
    assert remedy.startswith("Set the same in both")


@pytest.mark.long
@pytest.mark.parametrize("name", PLANTED)
def test_every_mistake_is_found_where_it_is(name: str) -> None:
    assert_found(name, seeds=3)


@pytest.mark.long
@pytest.mark.parametrize("name", CLEAN)
def test_no_false_alarm(name: str) -> None:
    assert checked(name, seeds=5, layouts=(*LAYOUTS, UNITS)).equal


@pytest.mark.long
def test_enough_was_planted_and_found(note: Callable[[str], None]) -> None:
    planted = [name for name in verdicts if name.startswith("planted.")]
    clean = [name for name in verdicts if name.startswith("clean.")]
    alarms = [name for name in clean if not verdicts[name].equal]
    compared = sum(verdicts[name].compared for name in clean)
    found = len(planted) - len(missed)
    note(f"check: {found} of {len(planted)} planted mistakes named by component and operation")
    note(f"check: {len(alarms)} false alarms in {len(clean)} clean apps, {compared:,} comparisons")
    assert not missed
    assert not alarms


def test_there_is_enough_to_find_and_to_leave_in_peace() -> None:
    assert len(PLANTED) >= 20
    assert len(CLEAN) >= 20
