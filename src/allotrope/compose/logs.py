"""The log of a topology: a file in the folder of its app, or a server. What a server needs is loaded only for it."""

import re
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit
from zlib import crc32

import msgspec

from allotrope.kernel.errors import Refused
from allotrope.logs.memory import MemoryLog
from allotrope.logs.remote import RemoteLog, Server
from allotrope.logs.sqlite import SqliteLog
from allotrope.planning.plans import Plan
from allotrope.planning.topology import Topology
from allotrope.planning.traits import largest_bytes
from allotrope.storage.ports import Log

_NAMELESS = re.compile(r"[^A-Za-z0-9_-]")
_PACKAGES = {"nats": "nats", "redis": "redis", "postgres": "asyncpg", "kafka": "confluent_kafka"}


def log_of(topology: Topology, folder: Path, owner: str) -> Log:
    """Return the log of an app under a topology, not yet open. Refused when a package for it is not there."""
    level, partitions = topology.durability, topology.partitions
    if level == "none":
        return MemoryLog(partitions)
    if topology.log.kind == "sqlite":
        return SqliteLog(folder, level, partitions, owner)
    return RemoteLog(server_of(topology, owner), level, partitions, owner, largest_bytes(topology))


def server_of(topology: Topology, owner: str) -> Server:
    """Return what keeps the log of an app. Refused when a package for it is not there."""
    wanted = topology.log
    kind, package, name = wanted.kind, _PACKAGES[wanted.kind], wanted.name or _NAMELESS.sub("-", owner)
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


def alone(plan: Plan, folder: Path) -> Plan:
    """Return a plan whose log on a server is that of one folder and of nobody else: for trials side by side."""
    log = plan.topology.log
    if log.kind == "sqlite":
        return plan
    name = f"{(log.name or plan.app.name)[:28]}-{crc32(str(folder.absolute()).encode()):08x}"
    topology = msgspec.structs.replace(plan.topology, log=msgspec.structs.replace(log, name=name))
    return msgspec.structs.replace(plan, topology=topology)


async def remove(plan: Plan) -> None:
    """Delete the log of a plan from its server, if it has one there; its host is closed."""
    if plan.topology.log.kind != "sqlite":
        server = server_of(plan.topology, plan.app.name)
        try:
            await server.open()
            await server.remove()
        finally:
            await server.close()


def shown(url: str) -> str:
    """Return an address without who comes in, nor what it is asked beside: for messages."""
    parts = [urlsplit(part if "://" in part else f"//{part}") for part in url.split(",")]
    hosts = [urlunsplit((part.scheme, part.netloc.rpartition("@")[2], part.path, "", "")) for part in parts]
    return ",".join(hosts)
