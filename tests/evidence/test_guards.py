import dataclasses
import os
import random
import tempfile
import threading
import time
import uuid
from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any

import pytest

from allotrope.evidence.guards import watching
from allotrope.kernel.calls import Call, current


def read(body: Callable[[], Any], varying: frozenset[str] = frozenset()) -> list[str]:
    """Return what an operation was seen to read."""
    token = current.set(Call("Clerk", "note"))
    try:
        with watching(frozenset(), varying) as found:
            body()
    finally:
        current.reset(token)
    assert {title for title, _ in found} <= {"Clerk.note"}
    return sorted(what for _, what in found)


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (time.time, "the wall clock (time.time)"),
        (time.time_ns, "the wall clock (time.time_ns)"),
        (lambda: datetime.now(UTC), "the wall clock (datetime.now)"),
        (date.today, "the wall clock (date.today)"),
        (random.random, "unseeded chance (module random)"),
        (lambda: random.choice("abc"), "unseeded chance (module random)"),
        (random.Random, "unseeded chance (Random without a seed)"),
        (uuid.uuid4, "unseeded chance (os.urandom)"),
        (os.getpid, "the machine it runs on (getpid)"),
        (lambda: os.environ.get("HOME"), "the machine it runs on (os.environ)"),
        (lambda: os.getenv("HOME"), "the machine it runs on (os.environ)"),
    ],
    ids=str,
)
def test_what_varies_is_seen(body: Callable[[], Any], what: str) -> None:
    assert read(lambda: body()) == [what]


@dataclasses.dataclass
class Row:
    text: str = ""


@pytest.mark.parametrize(
    "body",
    [
        lambda: random.Random(7).random(),
        lambda: random.Random("seed").sample(range(9), 3),
        lambda: repr(Row()),
        lambda: tempfile.TemporaryFile().close(),
        lambda: time.perf_counter(),
        lambda: datetime(2024, 1, 1, tzinfo=UTC).isoformat(),
        lambda: uuid.uuid5(uuid.NAMESPACE_DNS, "x"),
        lambda: os.path.expanduser("~"),
        lambda: threading.Lock().acquire(),
    ],
)
def test_what_does_not_matter_is_passed_over(body: Callable[[], Any]) -> None:
    assert read(body) == []


def test_an_operation_that_has_declared_it_may_read_what_it_likes() -> None:
    assert read(time.time, varying=frozenset({"Clerk.note"})) == []


def test_nothing_is_watched_outside_an_operation() -> None:
    with watching(frozenset(), frozenset()) as found:
        time.time()
    assert found == set()
