"""One life of the bank, to be killed: a line on the pipe for each promise, and at the end all rows as JSON.

`python -m tests.faults.branch FOLDER DURABILITY [look]` sends every deposit again under its request id, as a client
does that has not heard an answer; what an earlier life did must not be done twice. With `look` it sends nothing.
"""

import asyncio
import json
import sys
from pathlib import Path

from allotrope.compose import build
from allotrope.planning.documents import document_of
from allotrope.runtime.host import Host
from allotrope.runtime.options import Input
from allotrope.testing import faults
from tests.faults.bank import Deposit, app

ACCOUNTS, NUMBERS = 4, 60


def topology(durability: str) -> str:
    """Return the default layout at a durability."""
    return f'durability = "{durability}"\nreply = "effect"\n[unit.all]\ncomponents = ["*"]\n[topic."*"]\nvia = "log"\n'


async def client(host: Host, account: str) -> None:
    """Send the deposits of one account in order, every third one as a command, and tell what was acknowledged."""
    for number in range(NUMBERS):
        given = Input(request=f"{account}/{number}")
        if number % 3:
            await host.publish(Deposit(account, number), given)
        else:
            await host.tell("Teller.pay", (account, number), given)
        sys.stdout.write(f"{account} {number}\n")
        sys.stdout.flush()


async def main() -> None:
    """Live."""
    folder, durability = sys.argv[1:3]
    host = build(app, document_of(topology(durability), "bank.toml", str), Path(folder))
    await host.start()
    clients = 0 if sys.argv[3:] else ACCOUNTS
    await asyncio.gather(*(client(host, f"a{number}") for number in range(clients)))
    await host.settled()
    rows = {
        name: {key: list(value) for key, value in [pair async for pair in table.items()]}
        for name, table in (
            ("booked", host.wiring.instances["Teller"][0].accounts),
            ("heard", host.wiring.instances["Auditor"][0].heard),
        )
    }
    counts = {key: row["count"] for key, row in host.wiring.views["Deposits"].entries().items()}
    await host.close()
    sys.stdout.write(json.dumps({**rows, "counts": counts}) + "\n")


if __name__ == "__main__":
    faults.arm()
    asyncio.run(main())
