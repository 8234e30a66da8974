"""Homes: in which unit's ledger each component has its state. A folder remembers it, and no other layout is let in.

Another layout would begin with empty rows and run all of the log again. Moving state between ledgers is not here.
"""

from pathlib import Path

import msgspec

from allotrope.kernel.errors import Refused
from allotrope.planning.plans import Plan

FILE = "homes.json"


def settle(plan: Plan, folder: Path) -> None:
    """Keep where the components of a plan have their state. Refused when the folder has it elsewhere.

    Whoever asks holds the lock of the folder.
    """
    homes, known, path = _homes(plan), _known(folder), folder / FILE
    if moved := _moved(homes, known):
        name = moved[0]
        raise Refused(
            f"{folder}: the state of {', '.join(moved)} is kept there by another layout: {name} in "
            f"{_named(known[name])}, and {plan.name} has it in {_named(homes[name])}; use that layout, or "
            "another folder"
        )
    if known | homes != known:
        try:
            fresh = path.with_name(f".{FILE}")
            fresh.write_bytes(msgspec.json.encode(known | homes))
            fresh.replace(path)
        except OSError as error:
            raise _unusable(path, error) from None


def strays(plan: Plan, folder: Path) -> dict[str, str]:
    """Return, by component, where a folder has state that a plan would look for elsewhere: `settle` refuses these."""
    known = _known(folder)
    return {name: _named(known[name]) for name in _moved(_homes(plan), known)}


class Carrier(msgspec.Struct, frozen=True):
    """Where the events or the state of a folder are: on what, its name there, its address when it was used last."""

    kind: str
    name: str
    place: str


def carrier_of(folder: Path, what: str = "log") -> Carrier | None:
    """Return which server has the `log` or the `ledger` of a folder, None where it is a file or there is none."""
    path = folder / f"{what}.json"
    try:
        return msgspec.json.decode(path.read_bytes(), type=Carrier) if path.is_file() else None
    except (OSError, msgspec.DecodeError) as error:
        raise _unusable(path, error) from None


def settle_place(what: str, wanted: Carrier | None, folder: Path) -> None:
    """Keep where the `log` or the `ledger` of a folder is, None for a file in it. Refused when it is elsewhere.

    A server may move; one of another kind or name would begin empty, beside what says otherwise.
    """
    known, path = carrier_of(folder, what), folder / f"{what}.json"
    if known is not None:
        kept, same = f"in {known.kind}, as {known.name}, at {known.place}", _which(known) == _which(wanted)
    else:
        files = [*folder.glob(f"{what}.db"), *folder.glob(f"*/{what}.db")]
        kept, same = f"in {what}.db there", wanted is None or not files
    if not same:
        raise Refused(
            f"{folder}: its {what} is {kept}; another one would begin empty. Use that, or another folder"
        )
    if wanted is not None and wanted != known:
        try:
            fresh = path.with_name(f".{path.name}")
            fresh.write_bytes(msgspec.json.encode(wanted))
            fresh.replace(path)
        except OSError as error:
            raise _unusable(path, error) from None


def _which(carrier: Carrier | None) -> tuple[str, str] | None:
    return None if carrier is None else (carrier.kind, carrier.name)


def _homes(plan: Plan) -> dict[str, str]:
    components = plan.app.components
    return {
        name: unit if plan.apart else ""
        for unit, names in plan.units.items()
        for name in names
        if any(operation.writes for operation in components[name].operations)
    }


def _known(folder: Path) -> dict[str, str]:
    path = folder / FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, str]) if path.exists() else {}
    except (OSError, msgspec.DecodeError) as error:
        raise _unusable(path, error) from None


def _moved(homes: dict[str, str], known: dict[str, str]) -> list[str]:
    return [name for name, unit in homes.items() if known.get(name, unit) != unit]


def _unusable(path: Path, error: Exception) -> Refused:
    return Refused(f"{path}: {error}; let this user write there, or name another folder")


def _named(unit: str) -> str:
    return f"unit `{unit}`" if unit else "one process with all others"
