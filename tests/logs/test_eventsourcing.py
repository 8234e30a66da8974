"""The test classes that the package `eventsourcing` ships for event stores, run on a log and a ledger of ours.

All that it has for recorders runs: aggregates, applications, tracking, processes, and that the ids of two insertions
at once do not interleave. Its classes for mappers, transcoders and factories do not apply: they test how it encodes
its own objects and reads its own environment variables, before anything reaches a store.
"""

import shutil
import tempfile
from pathlib import Path
from unittest import TestCase
from uuid import uuid4

import pytest

pytest.importorskip("eventsourcing", reason="the package has no release for this Python or system")
from eventsourcing.persistence import IntegrityError, StoredEvent, Tracking
from eventsourcing.tests.persistence import (
    AggregateRecorderTestCase,
    ApplicationRecorderTestCase,
    NonInterleavingNotificationIDsBaseCase,
    ProcessRecorderTestCase,
    TrackingRecorderTestCase,
)

from allotrope.kernel.tables import Durability
from allotrope.storage import points
from tests.logs.recorders import (
    LogAggregateRecorder,
    LogApplicationRecorder,
    LogProcessRecorder,
    LogTrackingRecorder,
    Stores,
)


class Opened(TestCase):
    """A test that opens stores in a folder of its own and closes them again."""

    durability: Durability = "process"

    def stores(self, folder: Path | None = None) -> Stores:
        """Return stores of this test."""
        if folder is None:
            folder = Path(tempfile.mkdtemp())
            self.addCleanup(shutil.rmtree, folder)
        stores = Stores(folder, self.durability)
        self.addCleanup(stores.close)
        return stores


class TestAggregates(Opened, AggregateRecorderTestCase):
    """Versions of an aggregate are given once, and an insertion is all or nothing."""

    def create_recorder(self) -> LogAggregateRecorder:
        """Return one over new stores."""
        return LogAggregateRecorder(self.stores())


class TestApplications(Opened, ApplicationRecorderTestCase[LogApplicationRecorder]):
    """Notification ids are contiguous, under writers and readers in many threads as well."""

    def create_recorder(self) -> LogApplicationRecorder:
        """Return one over new stores."""
        return LogApplicationRecorder(self.stores())

    def test_insert_subscribe(self) -> None:
        """What is optional there holds here."""
        self.optional_test_insert_subscribe()


class TestTracking(Opened, TrackingRecorderTestCase):
    """How far another application was followed only grows."""

    def create_recorder(self) -> LogTrackingRecorder:
        """Return one over new stores."""
        return LogTrackingRecorder(self.stores())


class TestProcesses(Opened, ProcessRecorderTestCase):
    """Events and what they follow from are stored as one."""

    def create_recorder(self) -> LogProcessRecorder:
        """Return one over new stores."""
        return LogProcessRecorder(self.stores())


class TestIds(Opened, NonInterleavingNotificationIDsBaseCase):
    """The ids of one insertion lie together."""

    def create_recorder(self) -> LogApplicationRecorder:
        """Return one over new stores."""
        return LogApplicationRecorder(self.stores())


class TestRestarts(Opened):
    """What they do not ask: that nothing hangs on the life of the process."""

    def test_what_was_committed_is_carried_by_the_next_life(self) -> None:
        """An insertion that ends between ledger and log has its notification afterwards, and only once."""
        folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        first, follow = StoredEvent(uuid4(), 1, "topic", b"state"), Tracking("upstream", 7)
        ended = LogProcessRecorder(self.stores(folder))
        points.listen(_end)
        self.addCleanup(points.listen, None)
        with pytest.raises(Ended):
            ended.insert_events([first], tracking=follow)
        points.listen(None)
        ended.stores.close()
        recorder = LogProcessRecorder(self.stores(folder))
        (found,) = recorder.select_notifications(None, 10)
        assert (found.id, found.originator_id, found.state) == (1, first.originator_id, b"state")
        assert recorder.max_tracking_id("upstream") == 7
        with pytest.raises(IntegrityError):
            recorder.insert_events([first])
        second = StoredEvent(first.originator_id, 2, "topic", b"more")
        assert recorder.insert_events([second]) == [2]


class Ended(Exception):
    """Stands for the end of the process."""


def _end(point: str) -> None:
    if point == "relay.before":
        raise Ended


class TestAggregatesOnDisk(TestAggregates):
    """The same where each insertion is on the disk before it returns."""

    durability: Durability = "power"


class TestApplicationsOnDisk(TestApplications):
    """The same where each insertion is on the disk before it returns."""

    durability: Durability = "power"


class TestProcessesOnDisk(TestProcesses):
    """The same where each insertion is on the disk before it returns."""

    durability: Durability = "power"


class TestIdsOnDisk(TestIds):
    """The same where each insertion is on the disk before it returns."""

    durability: Durability = "power"
