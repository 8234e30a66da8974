"""Backups of a log from which old entries have left: what only the checkpoints hold comes back with them."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from allotrope.evidence.backups.backup import Wanted, saved
from allotrope.evidence.backups.cuts import cut
from allotrope.evidence.backups.restore import Until, restored
from allotrope.evidence.backups.verify import verified
from allotrope.kernel.errors import Corrupted, Refused
from allotrope.runtime.keeping import checkpoints
from allotrope.storage.checkpoints import NAMES
from tests.runtime.keeping.test_retention import KEEP, Place


def silent(what: str, done: int, total: int) -> None:
    pass


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setattr(checkpoints, "LEAST", 5)
    return Place(tmp_path, KEEP)


async def lives(place: Place, first: int) -> Any:
    place.days += 10
    return await place.lived(range(first, first + 20))


def moved(place: Place, folder: Path) -> Place:
    """Return the same place with another folder."""
    other = Place(folder.parent, KEEP)
    other.folder, other.days = folder, place.days
    return other


async def test_views_come_back_and_the_log_goes_on_where_it_was(place: Place, tmp_path: Path) -> None:
    target, ends = tmp_path / "backups", []
    for first, since in ((0, ""), (20, ""), (40, "last"), (60, "last")):
        ends.append(await lives(place, first))
        made = saved(place.folder, target, Wanted(since), silent).backup
        assert not first or {file.name for file in made.manifest.files} >= set(NAMES)
    with cut(place.folder) as files:
        verdict = verified(files, silent)
        assert verdict.sound, verdict.damages
        assert verdict.counts["entries"] < made.manifest.position - 40
        assert verdict.counts["view states"] > 0
    restored(target, tmp_path / "whole", Until(), silent)
    whole = moved(place, tmp_path / "whole")
    assert await whole.kept() == await place.kept()
    assert await whole.lived(range(0)) == ends[-1]
    middle = sorted(target.iterdir())[1]
    restored(middle, tmp_path / "middle", Until(), silent)
    assert await moved(place, tmp_path / "middle").lived(range(0)) == ends[1]


async def test_a_position_whose_inputs_have_left_is_refused(place: Place, tmp_path: Path) -> None:
    target = tmp_path / "backups"
    for first in (0, 20, 40):
        await lives(place, first)
    saved(place.folder, target, Wanted(), silent)
    for position in (10, 30):
        with pytest.raises(Refused, match=r"had left the log when .* restore a later position"):
            await asyncio.to_thread(restored, target, tmp_path / "early", Until(position=position), silent)
    assert not (tmp_path / "early").exists()


async def test_a_damaged_checkpoint_is_not_backed_up(place: Place, tmp_path: Path) -> None:
    for first in (0, 20, 40):
        await lives(place, first)
    file = place.folder / NAMES[0]
    data = bytearray(file.read_bytes())
    data[100::4096] = bytes(255 - byte for byte in data[100::4096])
    file.write_bytes(bytes(data))
    with pytest.raises(Corrupted, match=f"{NAMES[0]}.*events verify"):
        saved(place.folder, tmp_path / "backups", Wanted(), silent)
    assert not list((tmp_path / "backups").glob("*"))
