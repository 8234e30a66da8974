"""Whether the connectors of a topology name events that there are and addresses that can be reached."""

import re
from collections.abc import Iterator

from allotrope.kernel.errors import nearest
from allotrope.planning.documents import Document, Finding, finding
from allotrope.planning.facts import Facts
from allotrope.planning.topology import Sink, Source, Topology

SCHEMES = {
    "rabbitmq": ("amqp", "amqps"), "mqtt": ("mqtt", "mqtts"), "nats": ("nats", "tls"), "kafka": ("kafka",),
}  # fmt: skip
_NAME = re.compile(r"[A-Za-z0-9_-]{1,40}")
MOST_PREFETCH = 65_535  # what both protocols can say


def connector_faults(facts: Facts, topology: Topology, document: Document) -> Iterator[Finding]:
    """Yield a fault for each line of a source or sink that cannot be kept."""
    known = [name for name in facts.events() if name != "Tick"]
    for table, connectors in (("source", topology.source), ("sink", topology.sink)):
        for name, connector in connectors.items():
            what = f"{table} `{name}`"
            if not _NAME.fullmatch(name):
                text = f"{what}: a name has letters, digits, - and _, 40 at most"
                yield finding(document.place(table, name), text)
            yield from _reached(connector, what, document, (table, name))
    for name, source in topology.source.items():
        if source.event and source.event not in known:
            text = f"source `{name}` is to give `{source.event}`, which no component takes. "
            yield finding(document.place("source", name, "event"), text + nearest(source.event, known))
        if source.kind != "rabbitmq" and not source.reject:
            text = f"source `{name}` has no `reject`: {source.kind} has no place of its own for what cannot be taken"
            yield finding(document.place("source", name), f"{text}; name one")
        if not 1 <= source.prefetch <= MOST_PREFETCH:
            text = f"source `{name}` has prefetch = {source.prefetch}; it is 1 to {MOST_PREFETCH:,}"
            yield finding(document.place("source", name, "prefetch"), text)
    for name, sink in topology.sink.items():
        for event in sink.events:
            if event not in (*known, "*"):
                text = f"sink `{name}` is to send `{event}`, which the app does not have. "
                yield finding(document.place("sink", name, "events"), text + nearest(event, known))
        unkept = [e for e in known if {e, "*"} & {*sink.events} and topology.topic_of(e).via != "log"]
        if topology.durability == "none" or unkept:
            text = f"sink `{name}` reads the log, which does not keep {unkept[0] if unkept else 'anything'}; "
            remedy = 'write durability = "process" and [topic."*"] via = "log"'
            yield finding(document.place("sink", name), text + remedy)
        if re.search(r"\s", sink.source):
            text = f"sink `{name}` has source = {sink.source!r}; a URI has no space"
            yield finding(document.place("sink", name, "source"), text)


def _reached(
    connector: Source | Sink, what: str, document: Document, place: tuple[str, str]
) -> Iterator[Finding]:
    scheme, _, rest = connector.url.partition("://")
    able = SCHEMES[connector.kind]
    if scheme not in able or not rest:
        text = f"{what} has a url of scheme `{scheme[:20]}`; it begins with {' or '.join(able)}, then ://HOST"
        yield finding(document.place(*place, "url"), text)
    if not connector.address:
        yield finding(
            document.place(*place, "address"), f"{what} has no address; name a queue, exchange or topic"
        )
