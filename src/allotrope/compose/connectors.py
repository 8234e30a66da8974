"""The sources and sinks of a host: made of its topology, run beside it. Their packages are loaded only for them."""

import asyncio
import contextlib
import importlib
from collections.abc import AsyncIterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec

from allotrope.kernel.errors import Refused
from allotrope.kernel.messages import Event
from allotrope.planning.plans import Plan
from allotrope.runtime.doors.graces import cancelled
from allotrope.runtime.host import Host

_PACKAGES = {"rabbitmq": "aio_pika", "mqtt": "aiomqtt", "nats": "nats", "kafka": "confluent_kafka"}


def check_connectors(plan: Plan) -> None:
    """Raise Refused when a package for a source or sink is not there."""
    for table, connectors in (("source", plan.topology.source), ("sink", plan.topology.sink)):
        for name, connector in connectors.items():
            package = _PACKAGES[connector.kind]
            if find_spec(package) is None:
                raise Refused(f"{table} {name} needs {package}: pip install 'allotrope[{connector.kind}]'")


@contextlib.asynccontextmanager
async def connected(host: Host, folder: Path) -> AsyncIterator[None]:
    """Have the sources and sinks of a host's topology at work for as long as this is open; the host is started."""
    topology = host.plan.topology
    if not (topology.source or topology.sink):
        yield
        return
    check_connectors(host.plan)
    outflows = list(_outflows(host, folder))
    for outflow in outflows:
        await outflow.begin()
    running = [asyncio.create_task(one.run()) for one in (*_intakes(host), *outflows)]
    try:
        yield
    finally:
        await cancelled(running)


def _intakes(host: Host) -> Any:
    from allotrope.connectors.intake import Intake
    from allotrope.gateway.offers import offers_of  # only for sources: others pay for no gateway

    offers = offers_of(host.plan).values()
    readers = {offer.event.__name__: partial(_read, offer) for offer in offers if offer.event is not None}
    for name, source in host.plan.topology.source.items():
        module, binding = _module(source.kind)
        opened = partial(module.inlet, f"allotrope-{host.plan.app.name}-{name}", source)
        yield Intake(name, source, opened, binding, (host, readers))


def _outflows(host: Host, folder: Path) -> Any:
    from allotrope.connectors.outflow import Outflow

    kinds = {name: kind for name, kind in host.plan.app.events().items() if name != "Tick"}
    for name, sink in host.plan.topology.sink.items():
        module, binding = _module(sink.kind)
        opened = partial(module.outlet, f"allotrope-{host.plan.app.name}-{name}", sink)
        wanted = {kind: made for kind, made in kinds.items() if {kind, "*"} & {*sink.events}}
        yield Outflow(name, sink, opened, binding, (host.log, host.plan.app.name, wanted, folder))


def _module(kind: str) -> tuple[Any, Any]:
    from allotrope.connectors.cloudevents import bindings

    found: dict[str, Any] = {
        "rabbitmq": bindings.AMQP, "mqtt": bindings.MQTT, "nats": bindings.NATS, "kafka": bindings.KAFKA,
    }  # fmt: skip
    return importlib.import_module(f"allotrope.connectors.{kind}"), found[kind]


def _read(offer: Any, data: bytes) -> Event:
    """Return an event from JSON, as the gateway offers it. Refused when it holds none."""
    from allotrope.gateway.values import unfit

    try:
        given = offer.read(data)
    except msgspec.ValidationError as error:
        raise unfit(error, offer.title, offer.names) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refused(f"{offer.title}: this is no JSON: {error}") from None
    event: Event = offer.event(**{name: getattr(given, name) for name in offer.names})
    return event
