"""Golden files: what earlier versions of an app's events wrote, read by the app of today.

    from allotrope.testing.golden import golden_holds

    def test_old_events_are_read() -> None:
        assert golden_holds(app, Path("tests/golden")) > 0

`allotrope contract golden APP` writes the files, one for each shape that an event has ever had; they are kept
with the tests, and never written again. Not here: whether what is read means the same; that is for the app's tests.
"""

from pathlib import Path

import msgspec

from allotrope.kernel import codec
from allotrope.kernel.components import App
from allotrope.kernel.errors import Refused
from allotrope.planning.contracts.samples import Golden, goldens


def golden_holds(app: App, folder: Path) -> int:
    """Return how many golden files were read; AssertionError names each that cannot be, and each that is missing."""
    events, faults, files = app.events(), [], sorted(folder.glob("*.json"))
    for path in files:
        golden = msgspec.json.decode(path.read_bytes(), type=Golden)
        if golden.event not in events:
            faults.append(f"{path.name}: the app has no {golden.event} any more; logs may still hold it")
            continue
        try:
            codec.decode(bytes.fromhex(golden.body), events[golden.event])
        except (Refused, msgspec.ValidationError, ValueError) as error:
            faults.append(f"{path.name}: version {golden.version} is not read any more: {error}")
    missing = goldens(app).keys() - {path.name for path in files}
    faults += [f"{name}: is missing; write it with `allotrope contract golden`" for name in sorted(missing)]
    assert not faults, "\n".join(["", *faults])
    return len(files)
