"""A process of a unit, or the nursery from which such processes are forked. The engine starts it; it is no verb."""

import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from allotrope import compose, launch
from allotrope.compose.replicas import replica
from allotrope.engines.processes.fleet import GATEWAY
from allotrope.engines.processes.nursery import nurse
from allotrope.engines.processes.post import die_with_parent
from allotrope.engines.processes.process import Spec
from allotrope.kernel import codec
from allotrope.kernel.errors import Refused
from allotrope.runtime.telemetry.journal import configure


def main() -> None:
    """Serve one replica: the arguments are the file of the spec, the unit, the replica's name and its address.

    With the file alone, import the app and fork a replica for each order on stdin.
    """
    path, *arguments = sys.argv[1:]
    spec = codec.decode(Path(path).read_bytes(), Spec)
    die_with_parent(spec.parent)
    unit = spec.unit(arguments[0]) if arguments else {}
    if not (unit.get("python") and unit.get("app")):  # else all that it needs is in its own environment
        sys.path[:] = [*spec.paths, *(place for place in sys.path if place not in spec.paths)]
    if arguments:
        _serve(spec, arguments)
        return
    try:
        compose.load(spec.app)
    except Refused as refused:
        sys.exit(f"nursery: {refused}")
    nurse(lambda given: _serve(spec, given))


def _serve(spec: Spec, arguments: Sequence[str]) -> None:
    unit, name, address = arguments
    configure("json", place=name)
    if spec.door is not None and unit != GATEWAY:
        os.close(spec.door.web)  # inherited, and none of its business
    try:
        with asyncio.Runner(loop_factory=compose.fast_loop()) as runner:
            if unit == GATEWAY:
                runner.run(launch.gateway(spec, address))
            else:
                runner.run(replica(spec, unit, name, address))
    except Refused as refused:
        print(f"{name}: {refused}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
