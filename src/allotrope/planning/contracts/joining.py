"""Contracts of several apps as one: for who runs their units together, and has each event once.

Not here: whether an app keeps to its contract (`agreement`).
"""

from collections.abc import Iterator, Sequence

import msgspec

from allotrope.kernel.errors import Refused
from allotrope.planning.contracts.changes import fits
from allotrope.planning.contracts.contract import Contract, sealed
from allotrope.planning.contracts.shapes import Shape


def joined(contracts: Sequence[Contract]) -> tuple[Contract, dict[str, str]]:
    """Return contracts as one, and the app of each component. Its faces keep the hashes that they came with.

    A shape that two of them tell differently is that of the app that publishes it, else the one that has all fields.
    Refused when one component is in two contracts, or one name stands for two things.
    """
    owners: dict[str, str] = {}
    for contract in contracts:
        for name in contract.components:
            if owners.setdefault(name, contract.app) != contract.app:
                raise Refused(
                    f"component {name} is in the contracts of {owners[name]} and of {contract.app}; rename one"
                )
    whole = Contract(
        max(contract.allotrope for contract in contracts),
        "-".join(contract.app for contract in contracts),
        components={name: face for contract in contracts for name, face in contract.components.items()},
        events=_shapes([(contract, contract.events) for contract in contracts]),
        faults=_shapes([(contract, contract.faults) for contract in contracts]),
        types=_shapes([(contract, contract.types) for contract in contracts]),
    )
    kinds = [*whole.events, *whole.faults, *whole.types]
    if twice := sorted({name for name in kinds if kinds.count(name) > 1}):
        raise Refused(f"{twice[0]} is an event, a fault or a type by turns in {whole.app}; rename one")
    hashed = sealed(whole)
    return msgspec.structs.replace(hashed, components=whole.components), owners


def _shapes(parts: Sequence[tuple[Contract, dict[str, Shape]]]) -> dict[str, Shape]:
    names = sorted({name for _, shapes in parts for name in shapes})
    return {name: _chosen(name, [contract for contract, shapes in parts if name in shapes]) for name in names}


def _chosen(name: str, contracts: Sequence[Contract]) -> Shape:
    """Return the shape that what all others write, and read, fits."""
    for whose in sorted(contracts, key=lambda contract: name not in _published(contract)):
        if all(fits(other, whose, name) for other in contracts):
            return whose.shapes[name]
    told = " and ".join(contract.app for contract in contracts)
    raise Refused(
        f"{name} is one thing in each of the contracts of {told}; rename one, or write the older one again"
    )


def _published(contract: Contract) -> Iterator[str]:
    for face in contract.components.values():
        yield from face.publishes
