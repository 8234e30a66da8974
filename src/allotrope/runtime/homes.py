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
    components, path = plan.app.components, folder / FILE
    homes = {
        name: unit if plan.apart else ""
        for unit, names in plan.units.items()
        for name in names
        if any(operation.writes for operation in components[name].operations)
    }
    try:
        known = msgspec.json.decode(path.read_bytes(), type=dict[str, str]) if path.exists() else {}
        if moved := [name for name, unit in homes.items() if known.get(name, unit) != unit]:
            name = moved[0]
            raise Refused(
                f"{folder}: the state of {', '.join(moved)} is kept there by another layout: {name} in "
                f"{_named(known[name])}, and {plan.name} has it in {_named(homes[name])}; use that layout, or "
                "another folder"
            )
        if known | homes != known:
            fresh = path.with_name(f".{FILE}")
            fresh.write_bytes(msgspec.json.encode(known | homes))
            fresh.replace(path)
    except (OSError, msgspec.DecodeError) as error:
        raise Refused(f"{path}: {error}; let this user write there, or name another folder") from None


def _named(unit: str) -> str:
    return f"unit `{unit}`" if unit else "one process with all others"
