"""What apps leave in files for others to read: their contracts, and what they know of components."""

import os
from pathlib import Path
from typing import Any

import msgspec

from allotrope.kernel import codec
from allotrope.kernel.components import App
from allotrope.kernel.errors import Refused
from allotrope.planning.contracts.agreement import known_of
from allotrope.planning.contracts.contract import Contract, contract_of, read_contract
from allotrope.planning.contracts.joining import joined
from allotrope.planning.contracts.stubs import module_of
from allotrope.planning.documents import Document
from allotrope.storage.folders import own

CONTRACT = ".contract.json"  # how the name of a contract's file ends, behind the app's
KNOWN = "known.json"  # what the app of a fleet knows of components, in the folder of its sockets


def contract_at(place: Path | str) -> Contract:
    """Return the contract in a file, or the one that a running app keeps in its folder."""
    path = Path(place)
    found = sorted(path.glob(f"*{CONTRACT}")) if path.is_dir() else [path]
    if len(found) != 1:
        raise Refused(
            f"{path}: has {len(found)} files `*{CONTRACT}`; name the one, or the folder of a running app"
        )
    try:
        return read_contract(found[0].read_bytes(), str(found[0]))
    except OSError as error:
        raise Refused(f"{found[0]}: cannot be read: {error.strerror}") from None


def layout_at(folder: Path) -> Document | None:
    """Return the topology under which the units of a folder were started last; None where none is kept."""
    from allotrope.engines.processes.process import Spec  # only here: one process pays for no distribution

    try:
        spec: Spec = codec.decode((folder / "run" / "spec").read_bytes(), Spec)
    except OSError:  # nothing runs there, or all in one process
        return None
    return spec.document


def foreign(*places: Path | str, runs: bool = False) -> Any:
    """Return the components, events and faults of other apps as their contracts tell them: `foreign(FILE).Models`.

    With `runs` they have their handlers too, for the app under which they run. A type checker cannot look into it;
    `allotrope contract stub` writes the same as a file, for which it can.
    """
    return module_of(*joined([contract_at(place) for place in places]), runs=runs)


def keep_contract(app: App, folder: Path) -> None:
    """Leave the contract of an app in its folder, for `plan --against`."""
    _keep(folder / f"{app.name}{CONTRACT}", contract_of(app).text().encode())


def keep_known(app: App, folder: Path) -> None:
    """Leave what an app knows of components where the apps of its units look for it."""
    _keep(folder / "run" / KNOWN, msgspec.json.encode(known_of(app)))


def _keep(path: Path, text: bytes) -> None:
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        own(path.parent)
        fresh.write_bytes(text)
        fresh.replace(path)  # whoever reads it beside us finds the old one or the new one
    except OSError as error:
        raise Refused(f"{path}: cannot be kept: {error.strerror}; name another folder") from None
