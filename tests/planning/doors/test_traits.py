"""What a topology may ask of its log: each refusal with its whole message, and the table that the documents show."""

import re
from pathlib import Path

import pytest

from allotrope.planning.doors.traits import TRAITS, largest_bytes
from allotrope.planning.text import expansion
from allotrope.planning.topology import Topology
from tests.planning.cases.events import SHOP
from tests.planning.refusal import planned, refusal

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "events.md"
KEPT = 'durability = "process"\n'
LOGGED = '\n[topic."*"]\nvia = "log"\n'


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (
            'durability = "power"\n[log]\nkind = "nats"\nurl = "nats://broker"',
            "shop.toml:2  log nats gives durability `process` at most (answers before it syncs), and `power` is asked "
            'for; take sqlite, redis, postgres, or durability = "process"',
        ),
        (
            '[log]\nkind = "redis"\nurl = "redis://broker"',
            "shop.toml:3  log redis keeps what durability `none` forgets; write durability = \"process\", or leave "
            "[log] out",
        ),
        (
            f'{KEPT}[log]\nkind = "postgres"',
            'shop.toml:3  log postgres does not say its `url`; write url = "postgresql://HOST:PORT"',
        ),
        (
            f'{KEPT}[log]\nkind = "nats"\nurl = "nast://broker"',
            "shop.toml:5  log nats has a url of scheme `nast`; it begins with nats or tls, then ://HOST. "
            "Nearest: `nats`.",
        ),
        (
            f'{KEPT}[log]\nurl = "nats://broker"',
            "shop.toml:4  log sqlite is a file in the app's folder and has no url; leave it out",
        ),
        (
            f'{KEPT}[log]\nkind = "kafka"\nurl = "kafka://broker"\nlargest_kb = 40000',
            "shop.toml:6  log kafka takes events of 1 to 32,768 KiB, and largest_kb is 40,000",
        ),
        (
            f'{KEPT}[log]\nkind = "nats"\nurl = "nats://broker"\nname = "shop.orders"',
            "shop.toml:6  log name 'shop.orders' may have letters, digits, - and _, 40 at most",
        ),
        (
            f'{KEPT}[ledger]\nkind = "postgres"\nurl = "mysql://broker"',
            "shop.toml:5  ledger postgres needs a `url` that begins with postgresql or postgres, then ://HOST/DATABASE",
        ),
        (
            '[ledger]\nkind = "postgres"\nurl = "postgresql://broker"',
            "shop.toml:3  ledger postgres keeps what durability `none` forgets; write another durability, or leave "
            "[ledger] out",
        ),
        (
            f'{KEPT}[ledger]\nurl = "postgresql://broker"',
            "shop.toml:4  ledger sqlite is a file in the app's folder and has no url; leave it out",
        ),
        (f'{KEPT}[log]\nkid = "nats"', "shop.toml:4  `kid` is no key of log. Nearest: `kind`."),
        (
            f'{KEPT}[log]\nkind = "nat"',
            "shop.toml:4  `kind` of log is 'nat'; it may be sqlite, nats, redis, postgres, kafka",
        ),
    ],
)  # fmt: skip
def test_what_no_such_log_gives_is_refused(text: str, fault: str) -> None:
    assert refusal(*SHOP, text=text + LOGGED * ("durability" in text)) == [fault]


def test_a_plan_shows_what_its_log_gives() -> None:
    shown = expansion(
        planned(*SHOP, text=f'{KEPT}[log]\nkind = "redis"\nurl = "redis://broker:6379"{LOGGED}'), 400
    )
    assert (
        "log redis at redis://broker:6379, as shop; durability power at best (appendonly yes, appendfsync always), "
        "order of all entries, a repeated request is known for 24 h, events of 32,768 KiB at most"
    ) in shown


def test_an_event_is_as_large_as_its_log_takes_it() -> None:
    assert largest_bytes(Topology()) == 32 << 20
    text = f'{KEPT}[log]\nkind = "nats"\nurl = "nats://broker"\n'
    assert largest_bytes(planned(*SHOP, text=f"{text}{LOGGED}").topology) == 1000 << 10
    assert largest_bytes(planned(*SHOP, text=f"{text}largest_kb = 4000{LOGGED}").topology) == 4000 << 10


def test_the_documents_say_what_each_kind_gives() -> None:
    rows = re.findall(r"^\| `([a-z]+)` \| (\w+) \|", DOCUMENT.read_text("utf-8"), re.MULTILINE)
    assert dict(rows) == {kind: traits.durability for kind, traits in TRAITS.items()}
