"""Sources and sinks in a topology: each fault with its whole message."""

from allotrope import Event, component, on
from tests.planning.refusal import faults, planned

KEPT = 'durability = "process"\n[topic."*"]\nvia = "log"\n'


class Paid(Event, key="card"):
    card: str


class Booked(Event, key="card"):
    card: str


@component
class Bank:
    @on(Paid)
    async def book(self, paid: Paid) -> Booked:
        return Booked(paid.card)


def test_what_fits_is_planned() -> None:
    text = (
        '[source.till]\nkind = "rabbitmq"\nurl = "amqp://h/"\naddress = "paid"\nevent = "Paid"\nreject = "dead"\n'
        '[sink.out]\nkind = "mqtt"\nurl = "mqtts://h"\naddress = "booked"\nevents = ["Booked"]\n'
    )
    topology = planned(Bank, text=KEPT + text).topology
    assert (topology.source["till"].prefetch, topology.sink["out"].form) == (64, "binary")


def test_each_fault_is_told() -> None:
    text = (
        '[source."a b"]\nkind = "mqtt"\nurl = "amqp://h"\naddress = ""\nevent = "Payd"\nprefetch = 0\n'
        '[sink.out]\nkind = "rabbitmq"\nurl = "amqp://"\naddress = "x"\nevents = ["Boked"]\nsource = "a b"\n'
        '[sink.less]\nkind = "rabbitmq"\nurl = "amqp://h"\n'
        '[source.odd]\nkind = "carrier pigeon"\nurl = "x"\naddress = "y"\n'
    )
    assert faults(Bank, text=KEPT + text) == [
        "source `a b` has no `reject`: mqtt has no place of its own for what cannot be taken; name one",
        "source `a b`: a name has letters, digits, - and _, 40 at most",
        "source `a b` has a url of scheme `amqp`; it begins with mqtt or mqtts, then ://HOST",
        "source `a b` has no address; name a queue, exchange or topic",
        "source `a b` is to give `Payd`, which no component takes. Nearest: `Paid`.",
        "source `a b` has prefetch = 0; it is 1 to 65,535",
        "sink `out` has a url of scheme `amqp`; it begins with amqp or amqps, then ://HOST",
        "sink `out` is to send `Boked`, which the app does not have. Nearest: `Booked`.",
        "sink `out` has source = 'a b'; a URI has no space",
        "sink `less` does not say its `address`",
        "`kind` of source `odd` is 'carrier pigeon'; it may be rabbitmq, mqtt, nats, kafka",
    ]


def test_a_sink_needs_a_log() -> None:
    sink = '[sink.out]\nkind = "mqtt"\nurl = "mqtt://h"\naddress = "x"\nevents = ["Booked"]\n'
    remedy = 'write durability = "process" and [topic."*"] via = "log"'
    assert faults(Bank, text=sink) == [f"sink `out` reads the log, which does not keep Booked; {remedy}"]
