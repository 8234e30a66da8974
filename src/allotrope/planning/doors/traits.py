"""Traits: what each kind of log can promise. A topology that needs more is refused before anything starts.

What only the server itself can tell (whether it syncs, how large a message may be) is read back from it at the start.
Not here: the logs.
"""

import re
from collections.abc import Iterator

import msgspec

from allotrope.kernel.errors import nearest
from allotrope.kernel.tables import Durability
from allotrope.planning.documents import Document, Finding, finding
from allotrope.planning.topology import Topology

KB = 1024
_NAME = re.compile(r"[A-Za-z0-9_-]{1,40}")
_LEVELS: tuple[Durability, ...] = ("none", "process", "power")


class Traits(msgspec.Struct, frozen=True):
    """What a log of one kind gives at best."""

    durability: Durability
    schemes: tuple[str, ...]  # of its address; none for a file
    usual_kb: int  # of the largest event, as servers are set up when nobody says otherwise
    largest_kb: int  # of the largest event, as it may be set up
    order: str = "all entries"
    repeats_h: int = 24  # for how long a repeated request is known
    delay: bool = False  # whether an event may be told to come later
    replay: bool = True  # whether it can be read again from any position
    condition: str = ""  # what the server has to be set to for its best durability


_EVENT_KB = 32 * KB  # the largest event there is: `storage/ports.py` says so too
TRAITS: dict[str, Traits] = {
    "sqlite": Traits("power", (), _EVENT_KB, _EVENT_KB),
    "nats": Traits("process", ("nats", "tls"), 1000, _EVENT_KB, condition="answers before it syncs"),
    "redis": Traits(
        "power", ("redis", "rediss"), _EVENT_KB, _EVENT_KB, condition="appendonly yes, appendfsync always"
    ),
    "postgres": Traits("power", ("postgresql", "postgres"), _EVENT_KB, _EVENT_KB, condition="fsync on"),
    "kafka": Traits("process", ("kafka",), 1000, _EVENT_KB, condition="replicas answer before they sync"),
}


def largest_kb(topology: Topology) -> int:
    """Return the size in KiB that an event may have in the log of a topology."""
    return topology.log.largest_kb or TRAITS[topology.log.kind].usual_kb


def largest_bytes(topology: Topology) -> int:
    """Return how large the body of an event may be under a topology."""
    return KB * (_EVENT_KB if topology.durability == "none" else largest_kb(topology))


def log_faults(topology: Topology, document: Document) -> Iterator[Finding]:
    """Yield a fault for each thing that a topology asks of its log and that no such log gives."""
    log, traits = topology.log, TRAITS[topology.log.kind]
    if log.kind != "sqlite" and topology.durability == "none":
        text = f'log {log.kind} keeps what durability `none` forgets; write durability = "process", or leave [log] out'
        yield finding(document.place("log", "kind"), text)
    if _LEVELS.index(topology.durability) > _LEVELS.index(traits.durability):
        able = [kind for kind, other in TRAITS.items() if other.durability == topology.durability]
        text = (
            f"log {log.kind} gives durability `{traits.durability}` at most ({traits.condition}), and "
            f'`{topology.durability}` is asked for; take {", ".join(able)}, or durability = "{traits.durability}"'
        )
        yield finding(document.place("durability"), text)
    yield from _address(topology, traits, document)
    yield from _ledger(topology, document)
    if log.name and not _NAME.fullmatch(log.name):
        text = f"log name {log.name!r} may have letters, digits, - and _, 40 at most"
        yield finding(document.place("log", "name"), text)
    if not 0 <= log.largest_kb <= traits.largest_kb:
        text = f"log {log.kind} takes events of 1 to {traits.largest_kb:,} KiB, and largest_kb is {log.largest_kb:,}"
        yield finding(document.place("log", "largest_kb"), text)


def _ledger(topology: Topology, document: Document) -> Iterator[Finding]:
    ledger, place = topology.ledger, document.place("ledger", "url")
    schemes = TRAITS["postgres"].schemes
    if ledger.kind == "sqlite" and ledger.url:
        yield finding(place, "ledger sqlite is a file in the app's folder and has no url; leave it out")
    if ledger.kind == "postgres" and topology.durability == "none":
        text = "ledger postgres keeps what durability `none` forgets; write another durability, or leave [ledger] out"
        yield finding(document.place("ledger", "kind"), text)
    if ledger.kind == "postgres" and ledger.url.partition("://")[0] not in schemes:
        text = f"ledger postgres needs a `url` that begins with {' or '.join(schemes)}, then ://HOST/DATABASE"
        yield finding(place, text)


def _address(topology: Topology, traits: Traits, document: Document) -> Iterator[Finding]:
    log, place = topology.log, document.place("log", "url")
    scheme, _, rest = log.url.partition("://")
    if not traits.schemes:
        if log.url:
            yield finding(place, f"log {log.kind} is a file in the app's folder and has no url; leave it out")
    elif not log.url:
        text = f'log {log.kind} does not say its `url`; write url = "{traits.schemes[0]}://HOST:PORT"'
        yield finding(document.place("log"), text)
    elif scheme not in traits.schemes or not rest:
        text = f"log {log.kind} has a url of scheme `{scheme}`; it begins with {' or '.join(traits.schemes)}, then ://HOST"
        yield finding(place, f"{text}. {nearest(scheme, traits.schemes)}")
