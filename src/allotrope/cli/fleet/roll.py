"""`allotrope roll`: new processes in place of the old ones, one after the other, while requests go on.

With `--canary` the new ones come beside the old ones first, for a share of the work, until `--promote` or `--undo`.
"""

import time
from typing import Annotated

from cyclopts import Parameter

from allotrope import compose
from allotrope.cli.fleet.ps import sight, spoken
from allotrope.cli.fleet.scale import Unit
from allotrope.cli.loading import Folder
from allotrope.engines.processes.control import Begun, Way
from allotrope.kernel import codec
from allotrope.kernel.errors import Refused


def roll(
    unit: Unit = "",
    /,
    *,
    folder: Folder = compose.FOLDER,
    canary: Annotated[
        float | None, Parameter(help="The share of the unit's work for the code as it is now, as 0.1.")
    ] = None,
    promote: Annotated[bool, Parameter(negative="", help="Have the canary take over.")] = False,
    undo: Annotated[bool, Parameter(negative="", help="End the canary; the old release goes on.")] = False,
) -> int:
    """Replace the replicas of a unit, or of all units; each new one is ready before an old one leaves."""
    if (canary is not None) + promote + undo > 1:
        raise Refused("one of --canary, --promote and --undo at a time")
    if canary is not None:
        if not unit:
            raise Refused("--canary is for one unit: `allotrope roll UNIT --canary 0.1`")
        _begun(Way(folder).ask("canary", codec.encode((unit, canary))))
    elif promote or undo:
        _ended(folder, unit, "promote" if promote else "undo")
    else:
        _replaced(folder, unit)
    return 0


def _replaced(folder: Folder, unit: str) -> None:
    found = sight(folder)
    if running := [each.unit for each in found.canaries if unit in ("", each.unit)]:
        words = f"unit `{running[0]}` has a canary; --promote it or --undo it first"
        raise Refused(words if unit else f"{words}, or roll the others by name")
    Way(folder).ask("renew")
    for name in (unit,) if unit else found.wanted:
        start = time.monotonic()
        if not _begun(Way(folder).ask("roll", codec.encode(name))):
            print(f"{name}: replaced in {time.monotonic() - start:.1f} s", flush=True)


def _ended(folder: Folder, unit: str, verb: str) -> None:
    names = (unit,) if unit else tuple(each.unit for each in sight(folder).canaries)
    if not names:
        raise Refused("no unit has a canary; begin one with `allotrope roll UNIT --canary 0.1`")
    for name in names:
        said = Way(folder).ask(verb, codec.encode(name))
        told = codec.decode(said, str) if said else ""
        print(
            f"{name}: canary {'promoted' if verb == 'promote' else 'undone'}",
            *filter(None, (told,)),
            sep="; ",
        )


def _begun(said: bytes) -> bool:
    """Tell which canary was begun, if any was; return whether."""
    begun: Begun = codec.decode(said, Begun)
    if begun.canary is not None:
        print(f"{begun.canary.unit}: {spoken(begun.canary)}", flush=True)
    if begun.told:
        print(f"note: {begun.told}", flush=True)
    return begun.canary is not None
