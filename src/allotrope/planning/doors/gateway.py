"""Whether the door of an app to the network names what is there, and can be kept. Units and edges: see `layout`."""

from collections.abc import Collection, Iterator

from allotrope.kernel.errors import nearest
from allotrope.planning.documents import Document, Finding, finding
from allotrope.planning.facts import Facts
from allotrope.planning.topology import Topology

_SIGNED = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")


def gateway_faults(
    facts: Facts, topology: Topology, document: Document, units: Collection[str]
) -> Iterator[Finding]:
    """Yield a fault for each line of the gateway that names what is not there or cannot be kept."""
    gateway = topology.gateway
    operations = {
        body.title: body.operation
        for _, body in facts.bodies()
        if body.operation.kind in ("query", "command")
    }
    faults = {fault.__name__ for operation in operations.values() for fault in operation.faults}
    named: list[tuple[str, str, tuple[str, ...]]] = [
        ("alias", path, (title,)) for path, title in gateway.alias.items()
    ]
    named += [("facade", name, titles) for name, titles in gateway.facade.items()]
    for table, name, titles in named:
        for title in titles:
            if title not in operations:
                text = f"{table} `{name}` names `{title}`, which is no query or command. "
                yield finding(document.place("gateway", table, name), text + nearest(title, operations))
    for path in gateway.alias:
        if not path.startswith("/"):
            yield finding(
                document.place("gateway", "alias", path), f'alias `{path}` is no path; write "/{path}"'
            )
    for unit, share in gateway.canary.items():
        place = document.place("gateway", "canary", unit)
        if unit not in units:
            yield finding(place, f"canary `{unit}` is no unit. {nearest(unit, units)}")
        if not 0 < share <= 1:
            yield finding(place, f"canary `{unit}` has the share {share}; it lies over 0 and is at most 1")
    for fault, status in gateway.status.items():
        place = document.place("gateway", "status", fault)
        if fault not in faults:
            yield finding(
                place, f"status of `{fault}`, which no operation declares. {nearest(fault, faults)}"
            )
        if not 400 <= status <= 499:
            yield finding(place, f"status of `{fault}` is {status}; a declared fault is one of 400 to 499")
    yield from _sizes(topology, document)


def _sizes(topology: Topology, document: Document) -> Iterator[Finding]:
    gateway = topology.gateway
    for key in ("body_kb", "connections", "inflight", "deadline_s", "idle_s"):
        if not getattr(gateway, key) > 0:
            text = f"gateway has {key} = {getattr(gateway, key)}; it must be over 0"
            yield finding(document.place("gateway", key), text)
    for place, quota in [
        (("caller",), gateway.caller),
        *((("tenant", n), q) for n, q in gateway.tenant.items()),
    ]:
        if quota.rate < 0 or quota.burst < 1 or not quota.weight > 0 or quota.places < 0:
            text = (
                f"gateway {' '.join(place)}: rate and places are at least 0, burst at least 1, weight over 0"
            )
            yield finding(document.place("gateway", *place), text)
    if len(gateway.certificate) not in (0, 2):
        text = 'gateway certificate names two files: ["certificate.pem", "private.pem"]'
        yield finding(document.place("gateway", "certificate"), text)
    if gateway.bearer is not None:
        for name in gateway.bearer.algorithms:
            if name not in _SIGNED:
                text = (
                    f"algorithm `{name}` is not safe with public keys; it may be one of {', '.join(_SIGNED)}"
                )
                yield finding(document.place("gateway", "bearer", "algorithms"), text)
