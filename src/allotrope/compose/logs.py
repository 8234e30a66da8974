"""The log and the ledgers of a topology: files in the folder of its app, or servers with packages of their own."""

import logging
import re
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit
from zlib import crc32

import msgspec

from allotrope.kernel.errors import Refused
from allotrope.logs.memory import MemoryLog
from allotrope.logs.remote import RemoteLog
from allotrope.logs.server import Away, Server
from allotrope.logs.sqlite import SqliteLog
from allotrope.planning.documents import Document
from allotrope.planning.doors.traits import largest_bytes
from allotrope.planning.plans import Plan
from allotrope.planning.topology import Topology
from allotrope.runtime.homes import Carrier, settle_place
from allotrope.storage.ports import Log, SharedLedger
from allotrope.stores.sqlite import SqliteLedger

log = logging.getLogger("allotrope")
_NAMELESS = re.compile(r"[^A-Za-z0-9_-]")
_PACKAGES = {"nats": "nats", "redis": "redis", "postgres": "asyncpg", "kafka": "confluent_kafka"}


def log_of(topology: Topology, folder: Path, owner: str) -> Log:
    """Return the log of an app under a topology, not yet open. Refused when a package for it is not there."""
    level, partitions = topology.durability, topology.partitions
    if level == "none":
        return MemoryLog(partitions)
    if topology.log.kind == "sqlite":
        settle_place("log", None, folder)
        return SqliteLog(folder, level, partitions, owner)
    settle_place("log", Carrier(topology.log.kind, _name(topology, owner), shown(topology.log.url)), folder)
    return RemoteLog(server_of(topology, owner), level, partitions, owner, largest_bytes(topology))


def server_of(topology: Topology, owner: str) -> Server:
    """Return what keeps the log of an app. Refused when a package for it is not there."""
    wanted = topology.log
    kind, package, name = wanted.kind, _PACKAGES[wanted.kind], _name(topology, owner)
    if find_spec(package) is None:
        raise Refused(f"log {kind} needs {package}: pip install 'allotrope[{kind}]'")
    place = f"{shown(wanted.url)} {name}"
    if kind == "nats":
        from allotrope.logs.nats import NatsServer

        return NatsServer(wanted.url, place, name)
    if kind == "redis":
        from allotrope.logs.redis import RedisServer

        return RedisServer(wanted.url, place, name, topology.durability)
    if kind == "postgres":
        from allotrope.logs.postgres import PostgresServer

        return PostgresServer(wanted.url, place, name, topology.durability)
    from allotrope.logs.kafka import KafkaServer

    return KafkaServer(wanted.url, place, name)


def _name(topology: Topology, owner: str) -> str:
    return topology.log.name or _NAMELESS.sub("-", owner)[:40]


def ledger_of(
    topology: Topology, folder: Path, owner: str, unit: str = "", *, shared: bool = False
) -> SharedLedger:
    """Return the ledger of a durable app, or of one unit of it. Refused when its package or server is not there."""
    level, place = topology.durability, folder / unit
    if topology.ledger.kind == "sqlite":
        settle_place("ledger", None, folder)
        return SqliteLedger(place, level, owner=owner, shared=shared)
    if find_spec("asyncpg") is None:
        raise Refused("ledger postgres needs asyncpg: pip install 'allotrope[postgres]'")
    from allotrope.stores.postgres import PostgresLedger, Schema

    url, schema = topology.ledger.url, _schema(topology, owner, unit)
    settle_place("ledger", Carrier("postgres", _name(topology, owner), shown(url)), folder)
    return PostgresLedger(Schema(url, f"{shown(url)} {schema}", schema), level, owner=owner, shared=shared)


def _schema(topology: Topology, owner: str, unit: str) -> str:
    """Return the schema of a ledger: names there have 63 bytes at most."""
    name = f"allotrope_{_name(topology, owner)}" + (f"_{_NAMELESS.sub('-', unit)}" if unit else "")
    return name if len(name) <= 60 else f"{name[:51]}_{crc32(name.encode()):08x}"


def alone(document: Document, app: str, folder: Path) -> Document:
    """Return a topology whose log and ledger on a server are those of one folder and nobody else: for trials."""
    log = document.values.get("log", {})
    if log.get("kind", "sqlite") == document.values.get("ledger", {}).get("kind", "sqlite") == "sqlite":
        return document
    own = str(log.get("name") or _NAMELESS.sub("-", app))[:28]
    name = f"{own}-{crc32(str(folder.absolute()).encode()):08x}"
    return msgspec.structs.replace(document, values=document.values | {"log": log | {"name": name}})


async def remove(plan: Plan) -> None:
    """Delete the log and the ledgers of a plan from their servers, those that are there; its host is closed."""
    topology, owner = plan.topology, plan.app.name
    if topology.log.kind != "sqlite":
        server = server_of(topology, owner)
        try:
            await server.open()
            await server.remove()
        except (
            Away,
            Refused,
        ) as error:  # it is empty room on a server, and no reason to give up what was found
            log.warning("%s: the log of a trial is left there: %s", server.place, error)
        finally:
            await server.close()
    if topology.ledger.kind == "postgres":
        from allotrope.stores.postgres import drop

        await drop(topology.ledger.url, {_schema(topology, owner, unit) for unit in ("", *plan.units)})


def shown(url: str) -> str:
    """Return an address without who comes in, nor what it is asked beside: for messages."""
    parts = [urlsplit(part if "://" in part else f"//{part}") for part in url.split(",")]
    hosts = [urlunsplit((part.scheme, part.netloc.rpartition("@")[2], part.path, "", "")) for part in parts]
    return ",".join(hosts)
