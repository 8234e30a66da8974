"""Topologies: where components run and how they meet. Whether an app fits one is judged in `layout`."""

import typing
from typing import Any, Literal

import msgspec

from allotrope.kernel.errors import nearest
from allotrope.kernel.tables import Durability
from allotrope.planning.documents import Document, Finding, finding


class Unit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One process image. `components` are names, or `["*"]` for all that no other unit names.

    With `each` it stands for as many units: one for each of its components, called as the component.
    """

    components: tuple[str, ...]
    each: bool = False
    replicas: tuple[int, int] = (1, 1)
    cpu: float = 1.0
    memory_mb: int = 512
    gpu: float = 0.0
    sidecars: tuple[str, ...] = ()
    foreign: str = ""  # the address of whoever implements its components: http, https, grpc or grpcs
    credential: str = ""  # the file of the API key that is shown there
    environment: tuple[tuple[str, str], ...] = ()
    python: str = ""  # the interpreter of another environment; "" is the one that starts it
    app: str = ""  # the app of its own that its processes load there, as module:variable; "" is the whole one


class Edge(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How one component calls another: in one process, there through the codec, or wherever the other runs.

    Over a queue a call waits while the other is away, instead of being refused.
    """

    via: Literal["call", "loopback", "rpc", "queue"] = "call"


class Topic(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the events of one type travel."""

    via: Literal["memory", "log"] = "memory"
    keep: str = ""  # how long the log has them, as "30d"; "" is what the log says
    compact: bool = False  # whether of the finished ones only the newest of each key stays


class Limit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one component may use: calls at once, calls waiting, seconds for each; how often a handler is tried."""

    concurrency: int = 64
    queue: int = 1024
    deadline_s: float | None = None
    attempts: int = 3  # before an event is parked with what comes after it of its key


class Resilience(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a caller in another unit does about a callee that is slow, away or failing."""

    deadline_s: float | None = None  # of one attempt
    retries: float = 0.1  # repeats that each call earns for its path, where nobody knows whether it ran
    breaker: int = 0  # failures within `window_s` after which nothing is asked for `open_s`; 0 is never
    window_s: float = 10.0
    open_s: float = 1.0
    concurrency: int = 0  # calls at once from one process; 0 is what the callee allows, with all its replicas
    fallback: str = ""  # the query that answers instead: its answer is outside equality


class Quota(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a caller or a tenant may ask: requests a second, how many at once, and its share under load."""

    rate: float = 0.0  # 0 is without a limit
    burst: int = 100
    weight: float = 1.0
    places: int = 0  # requests in flight, of a tenant; 0 is without a limit of its own


class Bearer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whose signed tokens (JWT) open the gateway; `keyset` is a file or a URL, else the issuer is asked."""

    issuer: str
    audience: str
    keyset: str = ""
    algorithms: tuple[str, ...] = ("RS256", "ES256", "EdDSA")
    tenant_claim: str = "tenant"
    scope_claim: str = "scope"


class Gateway(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The door of an app to the network: who may come in, how much at once, and what is found where."""

    callers: str = ""  # the file of hashed API keys; "" is callers.json in the app's folder
    bearer: Bearer | None = None
    open: tuple[Literal["docs", "metrics"], ...] = ()  # what needs no key
    cors: tuple[str, ...] = ()  # origins whose pages may call, or "*"
    certificate: tuple[str, ...] = ()  # files of TLS: certificate, and its private half
    body_kb: int = 1024
    connections: int = 4096
    inflight: int = 256
    queue: int = 256  # requests that may wait for a place in flight
    deadline_s: float = 30.0
    idle_s: float = 10.0  # how long a client may send or read nothing
    caller: Quota = Quota()
    tenant: dict[str, Quota] = {}  # "*" is the default
    alias: dict[str, str] = {}  # path -> "Component.operation"
    facade: dict[str, tuple[str, ...]] = {}  # name -> operations that answer together
    canary: dict[
        str, float
    ] = {}  # unit -> share of its work that a new release gets first, when it is rolled
    status: dict[str, int] = {}  # fault -> HTTP status; others are 409


class Sidecar(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a kind of sidecar may use, and what it keeps of each replica."""

    arguments: bool = False  # whether it keeps what calls are given
    ring_kb: int = 4096  # of memory between replica and sidecar
    file_mb: int = 64
    file_s: float = 60.0  # after which a file is finished
    files: int = 200  # finished ones of a unit: the oldest make room


class Log(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What carries the events of a durable topology: a file in the app's folder, or a server."""

    kind: Literal["sqlite", "nats", "redis", "postgres", "kafka"] = "sqlite"
    url: str = ""
    name: str = ""  # of the log on its server; "" is that of the app
    largest_kb: int = 0  # of the largest event; 0 is what such servers usually take
    keep: str = ""  # how long it has what is finished, as "30d"; "" is forever
    backlog: int = 100_000  # accepted inputs that may wait in it for room, where `reply` is accepted


class Ledger(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What keeps state: a file in the folder of the app, and of each unit, or a schema for each on a server."""

    kind: Literal["sqlite", "postgres"] = "sqlite"
    url: str = ""


class Source(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where events come in from somebody else's broker: CloudEvents, or plain JSON of one event type."""

    kind: Literal["rabbitmq", "mqtt", "nats", "kafka"]
    url: str
    address: str  # the queue, topic or subject
    event: str = ""  # of messages that are no CloudEvents, and the only type taken; "" is what each one says
    reject: str = ""  # the exchange, topic or subject for what cannot be taken, with the reason
    prefetch: int = 64  # messages that the broker gives before they are acknowledged
    tenant: str = ""


class Sink(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where events go out to somebody else's broker, as CloudEvents."""

    kind: Literal["rabbitmq", "mqtt", "nats", "kafka"]
    url: str
    address: str  # the exchange, where an event's type is the routing key; the topic or subject
    events: tuple[str, ...]
    source: str = ""  # of the CloudEvents; "" is the name of the app
    form: Literal["binary", "structured"] = "binary"
    start: Literal["now", "beginning"] = "now"  # of what the log has, where it has sent nothing yet


class Topology(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A whole layout. The key `*` of `edge`, `topic` and `component` is the default for what is not named."""

    durability: Durability = "none"
    partitions: int = 16
    window: int = 256  # inputs in flight at once
    # Answer after the whole handler chain, after the own commit, or once the log has it, where it waits for room.
    reply: Literal["chain", "effect", "accepted"] = "chain"
    unit: dict[str, Unit] = {}
    edge: dict[str, Edge] = {}
    topic: dict[str, Topic] = {}
    component: dict[str, Limit] = {}
    resilience: dict[str, Resilience] = {}  # by query, component or unit, in this order; "*" for all
    sidecar: dict[str, Sidecar] = {}
    setting: dict[str, Any] = {}  # "Component.field" -> value
    gateway: Gateway = Gateway()
    log: Log = Log()
    ledger: Ledger = Ledger()
    source: dict[str, Source] = {}
    sink: dict[str, Sink] = {}

    def edge_of(self, caller: str, callee: str) -> Edge:
        """Return how `caller` reaches `callee`."""
        return self.edge.get(f"{caller} -> {callee}") or self.edge.get("*") or Edge()

    def topic_of(self, event: str) -> Topic:
        """Return how the events of one type travel."""
        return self.topic.get(event) or self.topic.get("*") or Topic()

    def limit_of(self, component: str) -> Limit:
        """Return what a component may use."""
        return self.component.get(component) or self.component.get("*") or Limit()

    def resilience_of(self, title: str, unit: str) -> Resilience:
        """Return what callers of the query `Component.operation` do when it fails; `unit` is where it runs."""
        found = self.resilience
        names = (title, title.partition(".")[0], unit, "*")
        return next((found[name] for name in names if name in found), _PLAIN)

    @property
    def durable(self) -> bool:
        """Return whether events travel through a log that outlives the process."""
        return any(topic.via == "log" for topic in self.topic.values())


_PLAIN = Resilience()
_SINGLE: dict[str, type[msgspec.Struct]] = {"gateway": Gateway, "log": Log, "ledger": Ledger}
_TABLES: dict[str, type[msgspec.Struct]] = {
    "unit": Unit, "edge": Edge, "topic": Topic, "component": Limit, "sidecar": Sidecar,
    "resilience": Resilience, "source": Source, "sink": Sink,
}  # fmt: skip


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
        elif key in _SINGLE and isinstance(value, dict):
            sound[key] = _single(document, key, value, faults)
        else:
            try:
                sound[key] = msgspec.convert(value, hints[key])
            except msgspec.ValidationError as error:
                faults.append(finding(document.place(key), f"`{key}` is {value!r}{_why(error, hints[key])}"))
    return Topology(**sound), faults


def _single(document: Document, name: str, table: dict[str, Any], faults: list[Finding]) -> Any:
    """Return a table that there is one of, without what is faulty in it."""
    kind = _SINGLE[name]
    fields, known = {field.name: field for field in msgspec.structs.fields(kind)}, dict[str, Any]()
    for key, value in table.items():
        place = document.place(name, key)
        if key not in fields:
            faults.append(finding(place, f"`{key}` is no key of {name}. {nearest(key, fields)}"))
            continue
        try:
            known[key] = msgspec.convert(value, fields[key].type)
        except msgspec.ValidationError as error:
            faults.append(finding(place, f"`{key}` of {name} is {value!r}{_why(error, fields[key].type)}"))
    return kind(**known)


def _why(error: msgspec.ValidationError, kind: Any) -> str:
    """Return what is wrong with a value, with those that are allowed where they can be counted."""
    allowed = typing.get_args(kind) if typing.get_origin(kind) is Literal else ()
    return f"; it may be {', '.join(map(str, allowed))}" if allowed else f": {error}"


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
                text = f"`{key}` of {table} `{name}` is {value!r}{_why(error, fields[key].type)}"
                faults.append(finding(place, text))
        if missing := [key for key, field in fields.items() if field.required and key not in entry]:
            text = f"{table} `{name}` does not say its `{missing[0]}`"
            faults.append(finding(document.place(table, name), text))
        elif all(key in known for key, field in fields.items() if field.required):
            found[name] = kind(**known)
    return found
