"""The order: all that a sidecar is told when it is started. Not here: how it gets there (`companion`)."""

import msgspec

from allotrope.planning.topology import Sidecar


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """All that a sidecar is told, by its replica."""

    unit: str
    replica: str
    release: int = 1
    folder: str  # of the app
    limits: Sidecar
    parent: int = 0  # the replica's process
    ring: int = -1  # the descriptor of its memory
    life: str = ""  # of the ring: replicas of another run have the same names, and other positions
    names: dict[str, tuple[str, ...]] = {}  # operation -> its parameters
    secrets: tuple[str, ...] = ()
