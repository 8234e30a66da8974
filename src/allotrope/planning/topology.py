"""Topologies: where components run and how they meet. Whether an app fits one is judged in `layout`."""

from typing import Any, Literal

import msgspec

from allotrope.kernel.errors import nearest
from allotrope.kernel.tables import Durability
from allotrope.planning.documents import Document, Finding, finding


class Unit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One process image. `components` are names, or `["*"]` for all that no other unit names."""

    components: tuple[str, ...]
    replicas: tuple[int, int] = (1, 1)
    cpu: float = 1.0
    memory_mb: int = 512
    gpu: float = 0.0
    sidecars: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()


class Edge(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How one component calls another; `loopback` is a call in one process through the codec."""

    via: Literal["call", "loopback"] = "call"


class Topic(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the events of one type travel."""

    via: Literal["memory", "log"] = "memory"


class Limit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one component may use: calls at once, calls waiting, seconds for each."""

    concurrency: int = 64
    queue: int = 1024
    deadline_s: float | None = None


class Topology(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A whole layout. The key `*` of `edge`, `topic` and `component` is the default for what is not named."""

    durability: Durability = "none"
    partitions: int = 16
    window: int = 256  # inputs in flight at once
    reply: Literal["chain", "effect"] = (
        "chain"  # answer after the whole handler chain, or after the own commit
    )
    unit: dict[str, Unit] = {}
    edge: dict[str, Edge] = {}
    topic: dict[str, Topic] = {}
    component: dict[str, Limit] = {}
    setting: dict[str, Any] = {}  # "Component.field" -> value

    def edge_of(self, caller: str, callee: str) -> Edge:
        """Return how `caller` reaches `callee`."""
        return self.edge.get(f"{caller} -> {callee}") or self.edge.get("*") or Edge()

    def topic_of(self, event: str) -> Topic:
        """Return how the events of one type travel."""
        return self.topic.get(event) or self.topic.get("*") or Topic()

    def limit_of(self, component: str) -> Limit:
        """Return what a component may use."""
        return self.component.get(component) or self.component.get("*") or Limit()

    @property
    def durable(self) -> bool:
        """Return whether events travel through a log that outlives the process."""
        return any(topic.via == "log" for topic in self.topic.values())


_TABLES: dict[str, type[msgspec.Struct]] = {"unit": Unit, "edge": Edge, "topic": Topic, "component": Limit}


def topology_of(document: Document) -> tuple[Topology, list[Finding]]:
    """Return the topology without what is faulty, and each fault of form: unknown keys, wrong types."""
    hints = {field.name: field.type for field in msgspec.structs.fields(Topology)}
    sound, faults = dict[str, Any](), list[Finding]()
    for key, value in document.values.items():
        if key not in hints:
            faults.append(
                finding(document.place(key), f"`{key}` is no key of a topology. {nearest(key, hints)}")
            )
        elif key in _TABLES or key == "setting":
            if isinstance(value, dict):
                sound[key] = _entries(document, key, faults) if key in _TABLES else _flat(value)
            else:
                faults.append(
                    finding(document.place(key), f"`{key}` is {value!r}; write a table, as in [{key}.NAME]")
                )
        else:
            try:
                sound[key] = msgspec.convert(value, hints[key])
            except msgspec.ValidationError as error:
                faults.append(finding(document.place(key), f"`{key}` is {value!r}: {error}"))
    return Topology(**sound), faults


def _flat(settings: dict[str, Any]) -> dict[str, Any]:
    """Return settings by `Component.field`; TOML nests them when the name is written without quotes."""
    flat = dict[str, Any]()
    for name, value in settings.items():
        if isinstance(value, dict) and "." not in name:
            flat.update({f"{name}.{field}": inner for field, inner in value.items()})
        else:
            flat[name] = value
    return flat


def _entries(document: Document, table: str, faults: list[Finding]) -> dict[str, Any]:
    kind, found = _TABLES[table], {}
    fields = {field.name: field for field in msgspec.structs.fields(kind)}
    for name, entry in document.values[table].items():
        if not isinstance(entry, dict):
            text = f"{table} `{name}` is {entry!r}; write a table: [{table}.{name}]"
            faults.append(finding(document.place(table, name), text))
            continue
        known = dict[str, Any]()
        for key, value in entry.items():
            place = document.place(table, name, key)
            if key not in fields:
                faults.append(
                    finding(place, f"`{key}` is no key of {table} `{name}`. {nearest(key, fields)}")
                )
                continue
            plain = sorted(value.items()) if key == "environment" and isinstance(value, dict) else value
            try:
                known[key] = msgspec.convert(plain, fields[key].type)
            except msgspec.ValidationError as error:
                faults.append(finding(place, f"`{key}` of {table} `{name}` is {value!r}: {error}"))
        if missing := [key for key, field in fields.items() if field.required and key not in entry]:
            text = f"{table} `{name}` does not say its `{missing[0]}`"
            faults.append(finding(document.place(table, name), text))
        elif all(key in known for key, field in fields.items() if field.required):
            found[name] = kind(**known)
    return found
