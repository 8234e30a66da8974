"""The sample of `allotrope check`: repeatable, in order of time, with everything that an app can meet."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from allotrope import Event, compose
from allotrope.evidence.inputs import Ask, Publish
from allotrope.evidence.runs import Job, run
from allotrope.kernel import codec
from examples.fraud import app
from examples.fraud.desk import Desk
from examples.fraud.events import Decided, Rejected, Reviewed
from examples.fraud.lab.sampling import sample

E = TypeVar("E", bound=Event)


@pytest.fixture(scope="module", autouse=True)
def _folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the sample's models out of the working directory."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("sample"))
        yield


def test_equal_seeds_give_equal_inputs_and_others_do_not() -> None:
    assert app.sample is sample
    assert list(sample(0)) == list(sample(0))
    assert list(sample(0)) != list(sample(1))


def test_inputs_come_in_order_of_time() -> None:
    times = [given.at for given in sample(0) if not isinstance(given, Ask)]
    assert times == sorted(times)


@pytest.mark.parametrize("seed", [0, 1])
def test_a_sample_sets_off_everything(seed: int, tmp_path: Path, note: Callable[[str], None]) -> None:
    inputs = tuple(sample(seed))
    assert 400 <= len(inputs) <= 650
    job = Job(app="examples.fraud", preset="monolith", seed=0, folder=str(tmp_path))
    found = asyncio.run(run(job, app, inputs, compose.build))
    kinds = app.events()
    events = [codec.decode(body, kinds[kind]) for step in found.steps for kind, body in step.events]

    ran = {step.title for step in found.steps} | {given.title for given in inputs if isinstance(given, Ask)}
    declared = {operation.title for one in app.components.values() for operation in one.operations}
    assert ran == declared - {"Models.probability"}  # which the scorer asks
    assert {one.kind.__name__ for one in app.components.values() if one.is_view} == found.views.keys()
    assert all(found.views.values())
    assert all(found.tables.values())

    decided = Counter(event.verdict for event in _of(events, Decided))
    assert set(decided) == {"approve", "review", "decline"}
    assert {event.version for event in _of(events, Decided)} == {"none", "sample-1", "sample-2"}
    assert len({event.reason.split()[0] for event in _of(events, Rejected)}) >= 3
    assert {event.reviewer for event in _of(events, Reviewed)} == {"", "ann"}
    assert any(step.error.startswith("NotOpen") for step in found.steps)
    assert not [step.error for step in found.steps if step.error and not step.error.startswith("NotOpen")]
    assert any(
        given.event.id == "" for given in inputs if isinstance(given, Publish) and hasattr(given.event, "id")
    )
    note(f"fraud sample {seed}: {len(inputs)} inputs, {len(found.steps):,} deliveries, {dict(decided)}")


def _of(events: list[Event], kind: type[E]) -> list[E]:
    return [event for event in events if isinstance(event, kind)]


def test_the_desk_has_a_sweep_that_the_sample_reaches() -> None:
    periods = [operation.period for operation in app.components[Desk.__name__].operations if operation.period]
    times = [given.at for given in sample(0) if not isinstance(given, Ask)]
    assert len(periods) == 1
    assert times[-1] - times[0] > 24 * periods[0]
